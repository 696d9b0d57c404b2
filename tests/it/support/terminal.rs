//! A terminal: a pty, and what somebody who looks at it would see.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{process::Child, sync::watch, time::timeout};

use super::program::Workplace;

/// A wait that takes so long will not end at all.
const LIMIT: Duration = Duration::from_secs(90);

/// More lines than anything here prints.
const TALL: u16 = 2000;

/// What a terminal stands for; what it does not is nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Both,
    Output,
    Errors,
}

/// The program on a terminal; killed when it is dropped.
pub(crate) struct OnTerminal {
    child: Child,
    master: File,
    bytes: watch::Receiver<Vec<u8>>,
    size: (u16, u16),
}

/// All that came to the terminal.
pub(crate) struct Shown {
    pub(crate) status: ExitStatus,
    pub(crate) bytes: Vec<u8>,
    size: (u16, u16),
}

impl Workplace {
    /// Starts the program on a terminal of so many columns and lines.
    pub(crate) fn on_terminal(&self, size: (u16, u16), arguments: &[&str]) -> OnTerminal {
        self.on_terminal_with(&[], Stands::Both, size, arguments)
    }

    pub(crate) fn on_terminal_with(
        &self,
        variables: &[(&str, &str)],
        stands: Stands,
        size: (u16, u16),
        arguments: &[&str],
    ) -> OnTerminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("there are pseudo-terminals");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        resize(&master, size);
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a plain name"))
            .expect("the other end can be opened");
        let end = |stands_for: bool| {
            if stands_for {
                Stdio::from(slave.try_clone().expect("it can be shared"))
            } else {
                Stdio::null()
            }
        };
        let child = self
            .command(&[&[("TERM", "xterm-256color")], variables].concat(), arguments)
            .stdout(end(stands != Stands::Errors))
            .stderr(end(stands != Stands::Output))
            .spawn()
            .expect("the program can be started");
        drop(slave);
        let master = File::from(master);
        let mut reader = master.try_clone().expect("it can be shared");
        let (sender, bytes) = watch::channel(Vec::new());
        // Ends with an error when the program has let go of the other end.
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = reader.read(&mut chunk) {
                sender.send_modify(|bytes| bytes.extend_from_slice(&chunk[..read]));
            }
        });
        OnTerminal {
            child,
            master,
            bytes,
            size,
        }
    }
}

fn resize(master: impl std::os::fd::AsFd, (columns, lines): (u16, u16)) {
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).expect("a terminal has a size");
}

impl OnTerminal {
    /// Makes it another size, as when somebody drags its corner.
    pub(crate) fn resize(&mut self, size: (u16, u16)) {
        resize(&self.master, size);
        self.size = size;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("nobody has waited for it");
        kill(Pid::from_raw(pid.try_into().expect("a process id")), signal)
            .expect("our own child can be signalled");
    }

    /// How much has come so far.
    pub(crate) fn so_far(&self) -> usize {
        self.bytes.borrow().len()
    }

    /// Waits until the screen, of what has come since, is as wanted, and gives its text.
    pub(crate) async fn shows_since(&mut self, since: usize, wanted: impl Fn(&str) -> bool) -> String {
        let size = self.size;
        let is_there = |bytes: &Vec<u8>| wanted(&screen(&bytes[since..], size).contents());
        let waited = timeout(LIMIT, self.bytes.wait_for(is_there)).await;
        let is_shown = matches!(waited, Ok(Ok(_)));
        drop(waited);
        let bytes = self.bytes.borrow();
        assert!(
            is_shown,
            "it never came: {}",
            String::from_utf8_lossy(&bytes[since..])
        );
        screen(&bytes[since..], size).contents()
    }

    pub(crate) async fn shows(&mut self, text: &str) -> String {
        self.shows_since(0, |screen| screen.contains(text)).await
    }

    /// Waits for the end.
    pub(crate) async fn end(mut self) -> Shown {
        let Ok(status) = timeout(LIMIT, self.child.wait()).await else {
            panic!("no end: {}", String::from_utf8_lossy(&self.bytes.borrow()));
        };
        // Until there is nobody left who could send.
        while self.bytes.changed().await.is_ok() {}
        Shown {
            status: status.expect("a child can be waited for"),
            bytes: self.bytes.borrow().clone(),
            size: self.size,
        }
    }
}

fn screen(bytes: &[u8], (columns, lines): (u16, u16)) -> vt100::Screen {
    let mut parser = vt100::Parser::new(lines, columns, 0);
    parser.process(bytes);
    parser.screen().clone()
}

impl Shown {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.raw());
        self
    }

    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// What stands on the screen at the end.
    pub(crate) fn screen(&self) -> String {
        screen(&self.bytes, self.size).contents()
    }

    /// All lines, as on a terminal that is high enough. None of them is wider than it.
    #[track_caller]
    pub(crate) fn lines_that_fit(&self) -> Vec<String> {
        let (columns, _) = self.size;
        let screen = screen(&self.bytes, (columns, TALL));
        let lines: Vec<String> = screen.rows(0, columns).collect();
        for (row, line) in (0..TALL).zip(&lines) {
            assert!(
                !screen.row_wrapped(row),
                "wider than {columns}: {line}\n{}",
                self.raw()
            );
        }
        let end = lines
            .iter()
            .rposition(|line| !line.is_empty())
            .map_or(0, |last| last + 1);
        lines.into_iter().take(end).collect()
    }
}
