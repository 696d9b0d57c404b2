//! Names, places and habits that go together.

pub(super) struct Culture {
    /// As people write them, and in the letters of an address.
    pub(super) given: &'static [(&'static str, &'static str)],
    pub(super) family: &'static [(&'static str, &'static str)],
    pub(super) family_first: bool,
    pub(super) domains: &'static [&'static str],
    pub(super) time_zones: &'static [&'static str],
    pub(super) locales: &'static [&'static str],
    pub(super) week_start: &'static str,
    pub(super) time_format: i32,
    pub(super) country: &'static str,
    pub(super) cities: &'static [&'static str],
    pub(super) currency: &'static str,
}

#[rustfmt::skip]
pub(super) const CULTURES: &[Culture] = &[
    Culture {
        given: &[
            ("Emily", "emily"), ("James", "james"), ("Olivia", "olivia"), ("Marcus", "marcus"), ("Grace", "grace"),
            ("Tyler", "tyler"), ("Hannah", "hannah"), ("DeShawn", "deshawn"), ("Megan", "megan"), ("Luke", "luke"),
        ],
        family: &[
            ("Johnson", "johnson"), ("O'Connor", "oconnor"), ("Williams", "williams"), ("Baker", "baker"),
            ("Jefferson", "jefferson"), ("Cohen", "cohen"), ("Miller", "miller"), ("St. James", "stjames"),
        ],
        family_first: false,
        domains: &["example.com", "mail.example.com", "northwind.example.net"],
        time_zones: &["America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles"],
        locales: &["en", "en", "en-US"],
        week_start: "Sunday", time_format: 12,
        country: "US", cities: &["Boston", "Austin", "Portland"], currency: "USD",
    },
    Culture {
        given: &[
            ("Harriet", "harriet"), ("Callum", "callum"), ("Siân", "sian"), ("Oliver", "oliver"), ("Priyanka", "priyanka"),
            ("Alistair", "alistair"), ("Niamh", "niamh"), ("George", "george"),
        ],
        family: &[
            ("Taylor-Smith", "taylorsmith"), ("MacLeod", "macleod"), ("Evans", "evans"), ("Khan", "khan"),
            ("Whitaker", "whitaker"), ("O'Brien", "obrien"), ("Clarke", "clarke"),
        ],
        family_first: false,
        domains: &["example.co.uk", "post.example.org"],
        time_zones: &["Europe/London", "Europe/London", "Europe/Dublin"],
        locales: &["en", "en-GB"],
        week_start: "Monday", time_format: 24,
        country: "GB", cities: &["Leeds", "Glasgow", "Cardiff"], currency: "GBP",
    },
    Culture {
        given: &[
            ("Jürgen", "juergen"), ("Anneliese", "anneliese"), ("Lukas", "lukas"), ("Zoë", "zoe"), ("Björn", "bjoern"),
            ("Katharina", "katharina"), ("Matthias", "matthias"), ("Heike", "heike"),
        ],
        family: &[
            ("Müller", "mueller"), ("Schäfer", "schaefer"), ("Weiß", "weiss"), ("von Arnim", "vonarnim"),
            ("Hoffmann", "hoffmann"), ("Krüger", "krueger"), ("Lehmann", "lehmann"),
        ],
        family_first: false,
        domains: &["example.de", "kanzlei.example.org"],
        time_zones: &["Europe/Berlin", "Europe/Berlin", "Europe/Vienna", "Europe/Zurich"],
        locales: &["de"],
        week_start: "Monday", time_format: 24,
        country: "DE", cities: &["Köln", "Leipzig", "München"], currency: "EUR",
    },
    Culture {
        given: &[
            ("Élodie", "elodie"), ("François", "francois"), ("Camille", "camille"), ("Jean-Luc", "jeanluc"),
            ("Anaïs", "anais"), ("Thibault", "thibault"), ("Noémie", "noemie"),
        ],
        family: &[
            ("Lefèvre", "lefevre"), ("Durand", "durand"), ("d'Estaing", "destaing"), ("Bélanger", "belanger"),
            ("Moreau", "moreau"), ("Garçon", "garcon"),
        ],
        family_first: false,
        domains: &["example.fr", "cabinet.example.org"],
        time_zones: &["Europe/Paris", "Europe/Paris", "America/Montreal", "Europe/Brussels"],
        locales: &["fr"],
        week_start: "Monday", time_format: 24,
        country: "FR", cities: &["Lyon", "Nîmes", "Orléans"], currency: "EUR",
    },
    Culture {
        given: &[
            ("João", "joao"), ("Inês", "ines"), ("Thiago", "thiago"), ("Beatriz", "beatriz"), ("Conceição", "conceicao"),
            ("Rafael", "rafael"), ("Letícia", "leticia"),
        ],
        family: &[
            ("da Silva", "silva"), ("Gonçalves", "goncalves"), ("Araújo", "araujo"), ("dos Santos", "santos"),
            ("Ferreira", "ferreira"), ("Magalhães", "magalhaes"),
        ],
        family_first: false,
        domains: &["example.com.br", "clinica.example.org"],
        time_zones: &["America/Sao_Paulo", "America/Sao_Paulo", "America/Manaus", "Europe/Lisbon"],
        locales: &["pt-BR", "pt-BR", "pt"],
        week_start: "Sunday", time_format: 24,
        country: "BR", cities: &["São Paulo", "Recife", "Lisboa"], currency: "BRL",
    },
    Culture {
        given: &[
            ("María José", "mariajose"), ("Íñigo", "inigo"), ("Lucía", "lucia"), ("Alejandro", "alejandro"),
            ("Ximena", "ximena"), ("Andrés", "andres"), ("Begoña", "begona"),
        ],
        family: &[
            ("García Márquez", "garcia"), ("Núñez", "nunez"), ("Rodríguez", "rodriguez"), ("Peña", "pena"),
            ("Ibáñez", "ibanez"), ("Quispe Mamani", "quispe"),
        ],
        family_first: false,
        domains: &["example.es", "correo.example.mx"],
        time_zones: &["Europe/Madrid", "America/Mexico_City", "America/Bogota", "America/Argentina/Buenos_Aires"],
        locales: &["es", "es", "es-419"],
        week_start: "Monday", time_format: 24,
        country: "MX", cities: &["Málaga", "Mérida", "Bogotá"], currency: "MXN",
    },
    Culture {
        given: &[
            ("花子", "hanako"), ("太郎", "taro"), ("美咲", "misaki"), ("健一", "kenichi"), ("さくら", "sakura"), ("翔太", "shota"),
        ],
        family: &[
            ("佐藤", "sato"), ("鈴木", "suzuki"), ("高橋", "takahashi"), ("渡辺", "watanabe"), ("小野寺", "onodera"),
        ],
        family_first: true,
        domains: &["example.jp", "example.co.jp"],
        time_zones: &["Asia/Tokyo"],
        locales: &["ja"],
        week_start: "Sunday", time_format: 24,
        country: "JP", cities: &["大阪", "札幌", "京都"], currency: "JPY",
    },
    Culture {
        given: &[
            ("伟", "wei"), ("秀英", "xiuying"), ("子涵", "zihan"), ("建国", "jianguo"), ("雨桐", "yutong"), ("浩然", "haoran"),
        ],
        family: &[("王", "wang"), ("李", "li"), ("欧阳", "ouyang"), ("陈", "chen"), ("黄", "huang")],
        family_first: true,
        domains: &["example.cn", "example.com.hk"],
        time_zones: &["Asia/Shanghai", "Asia/Shanghai", "Asia/Hong_Kong", "Asia/Taipei"],
        locales: &["zh-CN", "zh-CN", "zh-TW"],
        week_start: "Monday", time_format: 24,
        country: "CN", cities: &["深圳", "成都", "上海"], currency: "CNY",
    },
    Culture {
        given: &[
            ("Aarav", "aarav"), ("Ananya", "ananya"), ("Vikram", "vikram"), ("Lakshmi", "lakshmi"), ("Rohan", "rohan"),
            ("प्रिया", "priya"), ("Sanjay", "sanjay"), ("Meera", "meera"),
        ],
        family: &[
            ("Sharma", "sharma"), ("Iyer", "iyer"), ("Chakraborty", "chakraborty"), ("Patel", "patel"),
            ("Venkataraman", "venkat"), ("Singh", "singh"),
        ],
        family_first: false,
        domains: &["example.in", "desk.example.co.in"],
        time_zones: &["Asia/Kolkata", "Asia/Kolkata", "Asia/Calcutta"],
        locales: &["en", "ta", "bn"],
        week_start: "Monday", time_format: 12,
        country: "IN", cities: &["Pune", "Chennai", "Kolkata"], currency: "INR",
    },
    Culture {
        given: &[
            ("محمد", "mohammed"), ("فاطمة", "fatima"), ("يوسف", "youssef"), ("ليلى", "layla"), ("Karim", "karim"),
            ("نور", "nour"),
        ],
        family: &[
            ("الحسن", "alhassan"), ("منصور", "mansour"), ("حداد", "haddad"), ("El-Sayed", "elsayed"), ("خليل", "khalil"),
        ],
        family_first: false,
        domains: &["example.ae", "example.com.eg"],
        time_zones: &["Asia/Dubai", "Africa/Cairo", "Asia/Riyadh"],
        locales: &["ar"],
        week_start: "Saturday", time_format: 12,
        country: "AE", cities: &["دبي", "القاهرة", "Jeddah"], currency: "AED",
    },
    Culture {
        given: &[
            ("Oksana", "oksana"), ("Андрій", "andrii"), ("Ірина", "iryna"), ("Łukasz", "lukasz"), ("Agnieszka", "agnieszka"),
            ("Тарас", "taras"), ("Małgorzata", "malgorzata"),
        ],
        family: &[
            ("Шевченко", "shevchenko"), ("Коваленко", "kovalenko"), ("Wójcik", "wojcik"), ("Kowalczyk", "kowalczyk"),
            ("Żółtowska", "zoltowska"),
        ],
        family_first: false,
        domains: &["example.pl", "example.com.ua"],
        time_zones: &["Europe/Kyiv", "Europe/Kiev", "Europe/Warsaw"],
        locales: &["uk", "pl"],
        week_start: "Monday", time_format: 24,
        country: "PL", cities: &["Łódź", "Львів", "Kraków"], currency: "PLN",
    },
    Culture {
        given: &[
            ("Chidinma", "chidinma"), ("Kwame", "kwame"), ("Wanjiru", "wanjiru"), ("Thabo", "thabo"), ("Ngozi", "ngozi"),
            ("Amara", "amara"), ("Olúwaṣeun", "oluwaseun"),
        ],
        family: &[
            ("Okafor", "okafor"), ("Mensah", "mensah"), ("Kamau", "kamau"), ("Dlamini", "dlamini"), ("Adébáyọ̀", "adebayo"),
            ("van der Merwe", "vandermerwe"),
        ],
        family_first: false,
        domains: &["example.com.ng", "example.co.za"],
        time_zones: &["Africa/Lagos", "Africa/Nairobi", "Africa/Johannesburg", "Africa/Accra"],
        locales: &["en", "en-ZA"],
        week_start: "Sunday", time_format: 24,
        country: "NG", cities: &["Ibadan", "Kumasi", "Durban"], currency: "NGN",
    },
];
