//! The command line on a pseudo-terminal, which script(1) makes: questions, hidden passwords, colour.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{EMAIL, PASSWORD, Stage};

/// A command that a person sits before.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
    /// Name of the terminal, once it is there.
    tty: PathBuf,
}

impl Terminal {
    fn run(stage: &Stage, arguments: &str) -> Self {
        // A question that nobody expects must not be waited for without end.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=1", &crate::support::PATIENCE.as_secs().to_string(), "script"]);
        let tty = stage.person.path().join("tty");
        let line = format!("tty > {}; exec {} {arguments}", tty.display(), env!("CARGO_BIN_EXE_routerly"));
        command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
        command
            .env_clear()
            .env("HOME", stage.person.path())
            .env("ROUTERLY_URL", stage.url())
            .env("TERM", "xterm");
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script(1) is there");
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keys, screen, seen: String::new(), tty }
    }

    /// Waits for a text on the screen and types an answer.
    fn answer(&mut self, question: &str, answer: &str) {
        let from = self.seen.len();
        while !self.seen[from..].contains(question) {
            assert!(self.read(), "{question:?} was never asked:\n{}", self.seen);
        }
        self.keys.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }

    /// The same for what is not to be shown: typed once the terminal shows nothing, which it says a moment after the
    /// question.
    fn answer_hidden(&mut self, question: &str, answer: &str) {
        let from = self.seen.len();
        while !self.seen[from..].contains(question) {
            assert!(self.read(), "{question:?} was never asked:\n{}", self.seen);
        }
        let tty = std::fs::read_to_string(&self.tty).unwrap();
        crate::support::eventually("a terminal without an echo", || {
            let shown =
                Command::new("stty").args(["-a", "-F", tty.trim()]).output().expect("stty(1) is there");
            String::from_utf8_lossy(&shown.stdout).contains(" -echo ").then_some(())
        });
        self.keys.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }

    fn read(&mut self) -> bool {
        let mut buffer = [0; 1024];
        let read = self.screen.read(&mut buffer).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        read > 0
    }

    /// All that was on the screen, once the command has ended with this code.
    fn end(mut self, code: i32) -> String {
        while self.read() {}
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "{}", self.seen);
        self.seen
    }
}

#[test]
fn what_is_missing_is_asked_for_and_passwords_are_not_shown() {
    let stage = Stage::new();
    let mut setup = Terminal::run(&stage, "setup");
    setup.answer("Email of the administrator: ", EMAIL);
    setup.answer_hidden("Password (8 characters or more): ", PASSWORD);
    let seen = setup.end(0);
    assert!(seen.contains("Alias    default") && !seen.contains(PASSWORD), "{seen}");
    let mut login = Terminal::run(&stage, "auth login");
    login.answer("Email: ", EMAIL);
    login.answer_hidden("Password: ", PASSWORD);
    login.answer("Replace the account `default`? [y/N]: ", "n");
    assert!(login.end(0).contains("Alias    root"));
    let mut login = Terminal::run(&stage, "auth login --email root@example.org");
    login.answer_hidden("Password: ", "wrong horse");
    login.answer("Replace the account `default`? [y/N]: ", "y");
    assert!(login.end(3).contains("(unauthorized)"));
}

#[test]
fn what_cannot_be_undone_is_asked_for_first() {
    let stage = Stage::signed_in();
    stage.pipe(&["user", "add", "--email", "v@example.org", "--password-stdin"], PASSWORD).expect(0);
    let mut kept = Terminal::run(&stage, "user remove v@example.org");
    kept.answer("Remove the user v@example.org? [y/N]: ", "");
    assert!(kept.end(1).contains("nothing was done"));
    let mut removed = Terminal::run(&stage, "user remove v@example.org");
    removed.answer("[y/N]: ", "yes");
    assert!(removed.end(0).contains("v@example.org is removed"));
    assert_eq!(stage.json(&["user", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn heads_are_bold_on_a_terminal_alone() {
    let stage = Stage::signed_in();
    let seen = Terminal::run(&stage, "user list").end(0);
    assert!(seen.contains("\u{1b}[1mID"), "{seen:?}");
    assert!(!stage.run(&["user", "list"]).expect(0).out.contains('\u{1b}'));
    let mut plain = stage.command(&["user", "list"]);
    plain.env("NO_COLOR", "1");
    assert!(!super::feed(plain, "").out.contains('\u{1b}'));
}

#[test]
fn a_model_is_added_from_the_catalogue_by_answering_questions() {
    let stage = Stage::signed_in();
    let mut add = Terminal::run(&stage, "model add");
    add.answer("Provider (number or id): ", "openai");
    add.answer("Model (number or id): ", "gpt-5-mini");
    add.answer("Id [openai/gpt-5-mini]: ", "mini");
    add.answer_hidden("API key: ", "sk-canary-1234");
    add.answer("(empty: no more): ", "cost:weekly:5");
    add.answer("(empty: no more): ", "cost:period:weekly:5");
    add.answer("(empty: no more): ", "");
    let seen = add.end(0);
    assert!(seen.contains("mini is added") && !seen.contains("canary"), "{seen}");
    let model = stage.json(&["model", "show", "mini"]);
    assert_eq!(model["upstreamModelId"], "gpt-5-mini");
    assert_eq!((&model["hasApiKey"], &model["limits"][0]["period"]), (&true.into(), &"weekly".into()));
}
