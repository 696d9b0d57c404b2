// Keeps an open page up to date. Everything on it is there without this.
"use strict";

(() => {
    const live = document.getElementById("live");
    const said = document.getElementById("said");
    const isHome = document.querySelector("[data-part='clients']") !== null;

    // The server's clock, by the time on the page; this machine's may be wrong.
    let offset = 0;
    const setClock = (from) => {
        const time = from.querySelector("#headline ~ .lead time");
        if (isHome && time) offset = Date.parse(time.dateTime) - Date.now();
    };

    const span = (seconds) => {
        if (seconds < 60) return `${seconds} s`;
        if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
        if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
        return `${Math.floor(seconds / 86400)} d`;
    };

    const relative = (milliseconds) => {
        const seconds = Math.trunc(milliseconds / 1000);
        if (Math.abs(seconds) <= 1) return "now";
        return seconds > 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
    };

    const showTimes = () => {
        const now = Date.now() + offset;
        for (const time of document.querySelectorAll("time[data-relative]")) {
            const text = relative(Date.parse(time.dateTime) - now);
            if (time.textContent !== text) time.textContent = text;
        }
    };

    // Where the focus is, by a name that outlives the element.
    const nameOf = (element) => {
        if (!element || element === document.body) return null;
        if (element.id) return `#${CSS.escape(element.id)}`;
        if (element.dataset.key) return `[data-key="${CSS.escape(element.dataset.key)}"]`;
        const details = element.closest("details[data-key]");
        if (!details) return null;
        return `details[data-key="${CSS.escape(details.dataset.key)}"] ${element.localName}`;
    };

    const replace = (old, fresh) => {
        const open = [...old.querySelectorAll("details[open][data-key]")].map((details) => details.dataset.key);
        const focused = old.contains(document.activeElement) ? nameOf(document.activeElement) : null;
        old.replaceChildren(...document.importNode(fresh, true).childNodes);
        for (const key of open) {
            const details = old.querySelector(`details[data-key="${CSS.escape(key)}"]`);
            if (details) details.open = true;
        }
        if (focused) old.querySelector(focused)?.focus({ preventScroll: true });
    };

    const summaries = () =>
        new Map(
            [...document.querySelectorAll("[data-summary]")].map((card) => [card.dataset.client, card.dataset.summary])
        );

    const takeOver = (page) => {
        const before = summaries();
        for (const old of document.querySelectorAll("[data-part]")) {
            const fresh = page.querySelector(`[data-part="${old.dataset.part}"]`);
            if (fresh) replace(old, fresh);
        }
        document.title = page.title;
        setClock(document);
        showTimes();
        const news = [...summaries()].filter(([client, text]) => before.get(client) !== text).map(([, text]) => text);
        if (news.length > 0) said.textContent = news.join(". ");
    };

    const load = async (address, signal) => {
        const answer = await fetch(address, { headers: { accept: "text/html" }, signal });
        return new DOMParser().parseFromString(await answer.text(), "text/html");
    };

    const state = (name, text) => {
        live.dataset.state = name;
        live.querySelector(".text").textContent = text;
    };

    // Also the page that says that the database is away; not an answer of a proxy, or one that only says why there is no page.
    const isStatus = (page) => page.querySelector("[data-part='headline']") !== null;

    // Of the events, once there is one.
    let events = null;

    // One at a time, and once more if there was news meanwhile.
    let loading = false;
    let again = false;
    const refresh = async () => {
        if (loading) {
            again = true;
            return;
        }
        loading = true;
        do {
            again = false;
            try {
                const page = await load("/");
                if (!isStatus(page)) throw new Error("no status page");
                takeOver(page);
                if (events?.readyState === EventSource.OPEN) state("on", "Live");
            } catch {
                // What is shown stays, and may be old. It is asked for again at the next news, or after a while.
                if (events?.readyState !== EventSource.CLOSED) state("lost", "Reconnecting");
            }
        } while (again);
        loading = false;
    };

    const showProgress = (passes) => {
        for (const { client, text, pass } of passes) {
            const shown = document.querySelector(`[data-progress="${CSS.escape(client)}"]`);
            if (!shown) continue;
            shown.querySelector(".text").textContent = text;
            const bar = shown.querySelector("progress");
            if (bar && pass.expected) {
                bar.max = Math.max(pass.expected, 1);
                bar.value = Math.min(pass.observed, pass.expected);
            }
        }
    };

    const follow = () => {
        events = new EventSource("/events");
        events.addEventListener("open", () => state("on", "Live"));
        events.addEventListener("changed", refresh);
        events.addEventListener("progress", (event) => showProgress(JSON.parse(event.data)));
        events.addEventListener("error", () => {
            if (events.readyState === EventSource.CLOSED) {
                // Refused, for now.
                state("off", "Not live");
                setTimeout(follow, 30_000);
            } else {
                state("lost", "Reconnecting");
            }
        });
    };

    // As of each version.
    const slide = () => {
        const box = document.querySelector("[data-slider]");
        if (!box) return;
        const slider = box.querySelector("input");
        const text = box.querySelector("output");
        const asOf = document.getElementById("as-of");
        const entry = () => document.querySelector(`[data-version="${slider.value}"] a[data-at]`);
        const describe = () => {
            const link = entry();
            if (!link) return;
            slider.setAttribute("aria-valuetext", link.dataset.text);
            text.textContent = link.dataset.text;
        };
        let latest = null;
        slider.addEventListener("input", async () => {
            describe();
            const link = entry();
            if (!link) return;
            latest?.abort();
            latest = new AbortController();
            try {
                const page = await load(link.getAttribute("href").split("#")[0], latest.signal);
                const fresh = page.getElementById("as-of");
                if (!fresh) return;
                replace(asOf, fresh);
                for (const other of document.querySelectorAll(".version a[aria-current]")) {
                    other.removeAttribute("aria-current");
                }
                link.setAttribute("aria-current", "true");
                document.getElementById("at").value = link.dataset.at;
                history.replaceState(null, "", link.getAttribute("href"));
                showTimes();
            } catch {
                // A later movement took over, or the server is away.
            }
        });
        box.hidden = false;
        describe();
    };

    setClock(document);
    setInterval(showTimes, 1000);
    if (isHome) {
        follow();
        // Passes of other processes are not among the events.
        setInterval(() => document.hidden || refresh(), 30_000);
        document.addEventListener("visibilitychange", () => document.hidden || refresh());
    } else {
        live.hidden = true;
    }
    slide();
})();
