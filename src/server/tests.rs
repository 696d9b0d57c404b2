use std::net::Ipv4Addr;

use axum::{body::to_bytes, response::IntoResponse};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    calcom::Api,
    config::{Environment, Secrets},
    store::Settings,
};

/// A view of these clients, whose database is nowhere.
fn view(clients: &[&str]) -> Arc<View> {
    let block = |(number, name): (usize, &&str)| {
        format!(
            "[[clients]]\nname = '{name}'\nid = 'id-{name}'\nsecret = {{ env = 'SECRET' }}\nusers = [{}]\n",
            number + 1
        )
    };
    let text: String = clients.iter().enumerate().map(block).collect();
    let environment = Environment::from_pairs([("SECRET", "s3cret"), ("HOME", "/home/ada")]);
    let path = std::path::Path::new("config.toml");
    let loaded = Config::parse(&text, path, &environment, Secrets::Read);
    let config = loaded.unwrap_or_else(|faults| panic!("{faults}")).config;
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 1,
        pgbouncer: false,
    };
    let nowhere = SecretString::from("postgres://nobody@127.0.0.1:1/nothing");
    let store = Store::open_url(&nowhere, &settings).expect("an address");
    let api = Api::new(&config.calcom).expect("the client can be built");
    let clients = config.clients.iter().map(|client| ClientView {
        client: client.clone(),
        source: api.client(client),
        cron: Cron::parse(&client.cron, config.schedule.timezone).expect("a cron"),
    });
    Arc::new(View {
        clients: clients.collect(),
        own_store: store.clone(),
        store: store.looking_on(),
        config,
    })
}

/// Of so many clients.
pub(super) fn context_of(clients: usize) -> (watch::Sender<Arc<View>>, Context) {
    let names: Vec<_> = (0..clients).map(|number| format!("client-{number}")).collect();
    showing(view(&names.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn context() -> (watch::Sender<Arc<View>>, Context) {
    showing(view(&["acme"]))
}

fn showing(view: Arc<View>) -> (watch::Sender<Arc<View>>, Context) {
    let (sender, receiver) = watch::channel(view);
    let context = Context::new(receiver, Live::default(), CancellationToken::new());
    (sender, context)
}

/// What is answered to this text on one connection, until it is closed.
async fn said(routes: Router<Context>, request: &str) -> String {
    let (_views, context) = context();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let closing = context.closing.clone();
    let router = guarded(routes, context);
    let serving = connections::serve(&listener, router, &closing);
    let asking = async {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it answers");
        closing.cancel();
        String::from_utf8(answer).expect("UTF-8")
    };
    tokio::join!(serving, asking).1
}

#[tokio::test]
async fn a_panic_in_an_answer_is_a_500_of_that_answer_only() {
    async fn panics() -> &'static str {
        panic!("for the test")
    }
    let routes = Router::new()
        .route("/panics", get(panics))
        .route("/fine", get(async || "fine"));
    let request = "GET /panics HTTP/1.1\r\nHost: localhost\r\n\r\n\
                   GET /fine HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = said(routes, request).await;
    assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
    assert!(!answers.contains("for the test"), "{answers}");
    assert!(answers.ends_with("\r\n\r\nfine"), "{answers}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_half_a_request_is_closed() {
    let routes = || Router::new().route("/fine", get(async || "fine"));
    // They take as long as headers may; at the same time.
    let (silent, half, kept) = tokio::join!(
        said(routes(), ""),
        said(routes(), "GET /fine HTTP/1.1\r\nHost: local"),
        said(routes(), "GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    );
    assert!(
        !silent.contains("200 OK") && !half.contains("200 OK"),
        "{silent}{half}"
    );
    assert!(
        kept.ends_with("fine"),
        "an idle connection is closed after its answer: {kept}"
    );
}

/// Serves what a test asks for until it has ended.
async fn served(context: Context, routes: Router, asking: impl AsyncFnOnce(std::net::SocketAddr)) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let asking = async {
        asking(address).await;
        context.closing.cancel();
    };
    tokio::join!(connections::serve(&listener, routes, &context.closing), asking);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_let_go() {
    let (_views, context) = context();
    let routes = Router::new().route("/much", get(async || "x".repeat(1 << 20)));
    let routes = guarded(routes, context.clone());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut client = TcpStream::connect(address).await.expect("it listens");
    let (stream, _) = listener.accept().await.expect("somebody comes");
    let request = "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(64);
    client
        .write_all(request.as_bytes())
        .await
        .expect("the system takes it");
    // Whoever asked is still there, and reads nothing.
    let answering = connections::connection(stream, routes, context.closing.clone());
    let ended = tokio::time::timeout(Duration::from_secs(60), answering).await;
    assert!(ended.is_ok(), "the connection is still open");
    drop(client);
}

#[tokio::test]
async fn a_stream_ends_with_the_configuration_that_let_it_in() {
    let (views, context) = context();
    let routes = router(context.clone());
    served(context, routes, async |address| {
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            let request = "GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.expect("it reads");
            let mut said = Vec::new();
            while !String::from_utf8_lossy(&said).contains("event: changed") {
                let read = stream.read_buf(&mut said).await.expect("it answers");
                assert!(read > 0, "{}", String::from_utf8_lossy(&said));
            }
            views.send_replace(view(&["acme"]));
            let rest = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said));
            rest.await.expect("it ends").expect("in good order");
        }
    })
    .await;
}

#[tokio::test]
async fn health_goes_by_the_schedulers_loop_alone() {
    tokio::time::pause();
    let (_views, context) = context();
    let status = async || healthz(State(context.clone())).await.0;
    let almost = Duration::from_secs(59);
    tokio::time::advance(almost).await;
    assert_eq!(status().await, StatusCode::OK, "it may take a while to start");
    tokio::time::advance(almost).await;
    assert_eq!(
        status().await,
        StatusCode::SERVICE_UNAVAILABLE,
        "it never came round"
    );
    context.live.beat();
    assert_eq!(status().await, StatusCode::OK);
    tokio::time::advance(almost).await;
    assert_eq!(status().await, StatusCode::OK);
    tokio::time::advance(almost).await;
    assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE);
    context.live.beat();
    // The view's database is nowhere.
    assert_eq!(status().await, StatusCode::OK);
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    tokio::time::pause();
    let response = guard::answer(std::future::pending(), "/waits").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn gauges_of_a_client_that_is_no_longer_configured_vanish() {
    let (views, context) = context();
    let scrape = async || {
        let response = metrics::metrics(State(context.clone())).await.into_response();
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        String::from_utf8(body.to_vec()).expect("UTF-8")
    };
    let running = |client: &str| format!("calmirror_pass_running{{client=\"{client}\"}} 0");
    let before = scrape().await;
    assert!(before.contains(&running("acme")), "{before}");
    assert!(before.contains("calmirror_database_up 0"), "{before}");
    views.send_replace(view(&["globex", "initech"]));
    let after = scrape().await;
    assert!(!after.contains(&running("acme")), "{after}");
    for client in ["globex", "initech"] {
        assert!(after.contains(&running(client)), "{after}");
        let never = format!("calmirror_passes_total{{client=\"{client}\",outcome=\"failed\"}} 0");
        assert!(after.contains(&never), "{after}");
    }
}
