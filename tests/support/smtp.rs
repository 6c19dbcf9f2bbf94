//! A mail server under the test's control: takes mail over real sockets, with TLS from the first byte, by STARTTLS or not at
//! all, and remembers how it came.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::PATIENCE;

/// How the server is covered.
#[derive(Clone)]
pub enum Cover {
    Plain,
    Starttls(Arc<ServerConfig>),
    Whole(Arc<ServerConfig>),
}

/// A mail as it came.
#[derive(Debug, Clone, Default)]
pub struct Mail {
    pub is_encrypted: bool,
    /// Mechanism and what it was given, decoded: `PLAIN \0user\0password`.
    pub auth: Option<String>,
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
}

/// A mail server.
pub struct SmtpServer {
    pub port: u16,
    mails: Mutex<Receiver<Mail>>,
}

impl SmtpServer {
    /// Refuses recipients whose address begins with `nobody@`.
    pub fn start(cover: Cover) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to_test, mails) = channel();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (cover, to_test) = (cover.clone(), to_test.clone());
                std::thread::spawn(move || serve(socket, &cover, &to_test));
            }
        });
        Self { port, mails: Mutex::new(mails) }
    }

    /// The next mail.
    pub fn next_mail(&self) -> Mail {
        self.mails.lock().unwrap().recv_timeout(PATIENCE).expect("a mail comes")
    }

    /// Whether none has come.
    pub fn is_empty(&self) -> bool {
        self.mails.lock().unwrap().try_recv().is_err()
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn cover(socket: TcpStream, config: &Arc<ServerConfig>) -> Self {
        let session = ServerConnection::new(Arc::clone(config)).unwrap();
        Self::Tls(Box::new(StreamOwned::new(session, socket)))
    }

    fn line(&mut self) -> Option<String> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\r\n") {
            let count = match self {
                Self::Plain(stream) => stream.read(&mut byte),
                Self::Tls(stream) => stream.read(&mut byte),
            };
            if count.ok()? == 0 {
                return None;
            }
            line.push(byte[0]);
        }
        Some(String::from_utf8_lossy(&line).trim_end_matches("\r\n").to_owned())
    }

    fn say(&mut self, text: &str) -> Option<()> {
        let bytes = format!("{text}\r\n").into_bytes();
        match self {
            Self::Plain(stream) => stream.write_all(&bytes).ok(),
            Self::Tls(stream) => stream.write_all(&bytes).and_then(|()| stream.flush()).ok(),
        }
    }
}

fn serve(socket: TcpStream, cover: &Cover, mails: &Sender<Mail>) -> Option<()> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = match cover {
        Cover::Whole(config) => Stream::cover(socket, config),
        Cover::Plain | Cover::Starttls(_) => Stream::Plain(socket),
    };
    stream.say("220 mail.test ready")?;
    let mut mail = Mail::default();
    loop {
        mail.is_encrypted = matches!(stream, Stream::Tls(_));
        let line = stream.line()?;
        let word = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "EHLO" => {
                stream.say("250-mail.test")?;
                if matches!(cover, Cover::Starttls(_)) && !mail.is_encrypted {
                    stream.say("250-STARTTLS")?;
                }
                stream.say("250-8BITMIME")?;
                stream.say("250 AUTH PLAIN LOGIN XOAUTH2")?;
            }
            "STARTTLS" => {
                stream.say("220 go ahead")?;
                let (Cover::Starttls(config), Stream::Plain(socket)) = (cover, stream) else { return None };
                stream = Stream::cover(socket, config);
                mail = Mail::default();
            }
            "AUTH" => {
                let mut words = line.split(' ').skip(1);
                let (mechanism, initial) = (words.next()?.to_owned(), words.next().unwrap_or_default());
                let proof = BASE64.decode(initial).unwrap();
                let proof = String::from_utf8(proof).unwrap();
                let is_wrong = proof.contains("wrong");
                mail.auth = Some(format!("{mechanism} {proof}"));
                stream.say(if is_wrong { "535 5.7.8 wrong password" } else { "235 welcome" })?;
            }
            "MAIL" => {
                mail.from = between(&line);
                stream.say("250 ok")?;
            }
            "RCPT" => {
                let address = between(&line);
                let is_there = !address.starts_with("nobody@");
                mail.to.push(address);
                stream.say(if is_there { "250 ok" } else { "550 5.1.1 no such mailbox" })?;
            }
            "DATA" => {
                stream.say("354 go on")?;
                loop {
                    match stream.line()?.as_str() {
                        "." => break,
                        line => mail.data += &format!("{}\n", line.strip_prefix('.').unwrap_or(line)),
                    }
                }
                // A test that is not interested has let go of the other end.
                let _ = mails.send(mail.clone());
                stream.say("250 taken")?;
            }
            "QUIT" => return stream.say("221 bye"),
            _ => stream.say("250 ok")?,
        }
    }
}

fn between(line: &str) -> String {
    let from = line.find('<').map_or(0, |at| at + 1);
    let to = line.find('>').unwrap_or(line.len());
    line[from..to].to_owned()
}
