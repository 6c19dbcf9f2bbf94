//! The proxies under comparison: how each is configured, started, watched and ended.
//!
//! Every proxy gets its best reasonable settings for this load: kept-alive upstream connections without a
//! bound on requests, no access log, one worker or thread, limits high enough for 10,000 streams.

use std::fs::{self, File};
use std::io::{self, Error};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::home::{self, Size, Tokens};
use crate::proc::Tree;
use crate::sys;

/// CPU of the proxy; mock and load have [`LOAD_CPU`].
pub const PROXY_CPU: usize = 0;
pub const LOAD_CPU: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Direct,
    Nginx,
    Haproxy,
    Gateway,
}

/// One way from the load to the mock. `Direct` is the way without a process in it.
pub struct Proxy {
    pub kind: Kind,
    pub name: &'static str,
    /// Where requests that do not stream go.
    pub port: u16,
    /// Where streams go; nginx and HAProxy have settings for it.
    pub stream_port: u16,
    pub tokens: Tokens,
    command: Vec<String>,
    dir: PathBuf,
    child: Option<Child>,
    pub tree: Tree,
}

pub struct GatewayOptions {
    /// Words with `{port}`, `{upstream_port}`, `{home}` to be filled in.
    pub command: Vec<String>,
    pub log_level: String,
}

impl Proxy {
    pub fn direct(upstream_port: u16) -> Self {
        Self::new(Kind::Direct, "direct", upstream_port, upstream_port, Vec::new(), PathBuf::new())
    }

    /// `files`: open files that a process may have.
    pub fn nginx(dir: &Path, upstream_port: u16, files: u64) -> io::Result<Self> {
        let (port, stream_port) = (free_port()?, free_port()?);
        let config = dir.join("nginx.conf");
        fs::write(&config, nginx_config(dir, port, stream_port, upstream_port, files))?;
        let program = find_program("nginx")?;
        let command = vec![program, "-e".into(), "stderr".into(), "-c".into(), config.display().to_string()];
        Ok(Self::new(Kind::Nginx, "nginx", port, stream_port, command, dir.to_owned()))
    }

    /// `files`: open files that a process may have.
    pub fn haproxy(dir: &Path, upstream_port: u16, files: u64) -> io::Result<Self> {
        let (port, stream_port) = (free_port()?, free_port()?);
        let config = dir.join("haproxy.cfg");
        fs::write(&config, haproxy_config(port, stream_port, upstream_port, files))?;
        let command = vec![find_program("haproxy")?, "-db".into(), "-f".into(), config.display().to_string()];
        Ok(Self::new(Kind::Haproxy, "HAProxy", port, stream_port, command, dir.to_owned()))
    }

    /// `home`: name of its folder.
    pub fn gateway(
        dir: &Path,
        home: &str,
        size: Size,
        upstream_port: u16,
        options: &GatewayOptions,
    ) -> io::Result<Self> {
        let port = free_port()?;
        let home = dir.join(home);
        let tokens = home::write(&home, port, upstream_port, &options.log_level, size)?;
        let fill = |word: &String| {
            word.replace("{port}", &port.to_string())
                .replace("{upstream_port}", &upstream_port.to_string())
                .replace("{home}", &home.display().to_string())
        };
        let command = options.command.iter().map(fill).collect();
        let mut proxy = Self::new(Kind::Gateway, "routerly", port, port, command, dir.to_owned());
        proxy.tokens = tokens;
        Ok(proxy)
    }

    fn new(
        kind: Kind,
        name: &'static str,
        port: u16,
        stream_port: u16,
        command: Vec<String>,
        dir: PathBuf,
    ) -> Self {
        let any = format!("sk-rt-{}", "0".repeat(64));
        let tokens = Tokens { chat: vec![any.clone()], anthropic: any };
        Self { kind, name, port, stream_port, tokens, command, dir, child: None, tree: Tree::default() }
    }

    /// Starts the process, pinned to [`PROXY_CPU`]; it need not be ready yet.
    pub fn spawn(&mut self) -> io::Result<()> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(()) };
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ROUTERLY_") {
                command.env_remove(name);
            }
        }
        // nginx's master has to end its worker, which SIGKILL would leave behind.
        let signal = if self.kind == Kind::Nginx { libc::SIGTERM } else { libc::SIGKILL };
        sys::bind_child(&mut command, PROXY_CPU, signal);
        let child = command.spawn().map_err(|error| Error::other(format!("{program}: {error}")))?;
        self.tree = Tree { pids: vec![pid_of(&child)] };
        self.child = Some(child);
        Ok(())
    }

    /// Looks for the processes that the started one has started; to be called once it is ready.
    pub fn find_children(&mut self) {
        if let Some(child) = &self.child {
            self.tree = Tree::of(pid_of(child));
        }
    }

    /// Has the process ended by itself?
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)) | Err(_)))
    }

    /// Asks the process to end, gives it two seconds, then ends it and all it started.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = pid_of(&child);
            sys::send_signal(pid, libc::SIGTERM);
            for _ in 0..400 {
                if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            sys::send_signal(-pid, libc::SIGKILL);
            let _ = child.wait();
        }
        self.tree = Tree::default();
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// The end of what the process wrote, for an error message.
    pub fn log_tail(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).trim().to_owned()
    }

    /// Says which proxy failed, and its last words.
    pub fn explain(&self, error: io::Error) -> io::Error {
        Error::other(format!("{}: {error}\n{}", self.name, self.log_tail()))
    }

    pub fn version(&self) -> Option<String> {
        let (program, flag) = match self.kind {
            Kind::Direct => return None,
            Kind::Nginx | Kind::Haproxy => (self.command.first()?, "-v"),
            Kind::Gateway => (self.command.first()?, "--version"),
        };
        if self.kind == Kind::Gateway && !program.ends_with("/routerly") {
            return Some(format!("routerly: {}", self.command.join(" ")));
        }
        let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        Some(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
    }

    /// Size of the program file in bytes.
    pub fn binary_bytes(&self) -> Option<u64> {
        fs::metadata(self.command.first()?).ok().map(|meta| meta.len())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

fn pid_of(child: &Child) -> i32 {
    child.id().cast_signed()
}

/// A loopback port that nobody listened on a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn find_program(name: &str) -> io::Result<String> {
    let found = ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| Path::new(path).exists());
    found.ok_or_else(|| Error::other(format!("{name} is not installed (apt-get install {name})")))
}

fn nginx_config(dir: &Path, port: u16, stream_port: u16, upstream_port: u16, files: u64) -> String {
    // nginx begins to close waiting connections when a sixteenth of these is left, so there are some more
    // than open files.
    let connections = files + files / 4;
    let dir = dir.display();
    let server = |port: u16, buffering: &str| {
        format!(
            "  server {{\n    listen 127.0.0.1:{port} backlog=4096;\n    location / {{\n      \
             proxy_pass http://mock;\n      proxy_http_version 1.1;\n      \
             proxy_set_header Connection \"\";\n      proxy_buffering {buffering};\n      \
             proxy_read_timeout 300s;\n    }}\n  }}\n"
        )
    };
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {dir}/nginx-{kind};\n"))
        .collect();
    format!(
        "daemon off;\nuser root;\nworker_processes 1;\nworker_rlimit_nofile {files};\n\
         pid {dir}/nginx.pid;\nerror_log stderr crit;\n\
         events {{\n  worker_connections {connections};\n}}\n\
         http {{\n  access_log off;\n  keepalive_timeout 300s;\n  keepalive_requests 1000000000;\n{temp}  \
         upstream mock {{\n    server 127.0.0.1:{upstream_port};\n    keepalive 512;\n    \
         keepalive_timeout 300s;\n    keepalive_requests 1000000000;\n  }}\n{}{}}}\n",
        server(port, "on"),
        server(stream_port, "off")
    )
}

/// Streams have a front of their own with `http-no-delay`: without it HAProxy asks the kernel to wait for
/// more data (MSG_MORE), which holds an event back for up to 200 ms.
fn haproxy_config(port: u16, stream_port: u16, upstream_port: u16, files: u64) -> String {
    // Each connection may take two descriptors, and some are HAProxy's own.
    let connections = ((files - 60) / 2).min(24_000);
    let way = |name: &str, port: u16, option: &str| {
        format!(
            "frontend {name}\n  bind 127.0.0.1:{port} backlog 4096\n{option}  default_backend {name}\n\
             backend {name}\n{option}  server mock 127.0.0.1:{upstream_port} pool-purge-delay 300s\n"
        )
    };
    format!(
        "global\n  nbthread 1\n  maxconn {connections}\n\
         defaults\n  mode http\n  maxconn {connections}\n  timeout connect 5s\n  timeout client 300s\n  \
         timeout server 300s\n  timeout http-keep-alive 300s\n  option http-keep-alive\n  http-reuse always\n{}{}",
        way("unary", port, ""),
        way("streams", stream_port, "  option http-no-delay\n")
    )
}
