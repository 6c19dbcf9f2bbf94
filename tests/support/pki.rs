//! A throw-away certificate authority, and TLS peers that use it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection, StreamOwned, SupportedProtocolVersion,
};

use super::PATIENCE;
use super::wire::find;

/// Signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pub pem: String,
}

/// A certificate with its key.
pub struct Identity {
    pub certificate_pem: String,
    pub key_pem: String,
    pub certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new() -> Self {
        // Names of their own, or one would be taken for the other.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::new(vec![]).unwrap();
        let name = format!("authority {}", MADE.fetch_add(1, Ordering::SeqCst));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// For names or addresses, valid for a long time.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_until(names, 4096)
    }

    /// For names or addresses, valid to the start of a year.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Identity {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        }
    }

    /// A client that trusts this authority and offers these protocols.
    pub fn client(&self, protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

impl Identity {
    /// A server with this identity.
    pub fn server(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap()
    }
}

/// A client's connection over TLS.
pub struct TlsClient {
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsClient {
    /// Connects and completes the hand-shake.
    pub fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<Self> {
        Self::connect_with(address, &Arc::new(config))
    }

    pub fn connect_with(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream })
    }

    /// The certificate that the server showed.
    pub fn shown(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone()
    }

    /// Sends a request; gives the head of the answer as text and its body, which has a length or comes in chunks.
    pub fn call(&mut self, request: &[u8]) -> (String, Vec<u8>) {
        self.stream.write_all(request).unwrap();
        read_message(&mut self.stream).expect("an answer")
    }
}

/// Reads one message; a chunked body as it is on the wire. None at the end of the stream.
fn read_message(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    let mut more = |bytes: &mut Vec<u8>| match stream.read(&mut piece) {
        Ok(count @ 1..) => {
            bytes.extend_from_slice(&piece[..count]);
            true
        }
        _ => false,
    };
    let end = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        if !more(&mut bytes) {
            return None;
        }
    };
    let head = String::from_utf8(bytes.drain(..end).collect()).unwrap();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: Option<usize> = length.map(|value| value.trim().parse().unwrap());
    let is_chunked = lower.contains("transfer-encoding: chunked");
    loop {
        let whole = match length {
            Some(length) => bytes.len() >= length,
            None => !is_chunked || bytes.ends_with(b"0\r\n\r\n"),
        };
        if whole {
            return Some((head, bytes));
        }
        if !more(&mut bytes) {
            return None;
        }
    }
}

/// A provider over TLS that answers every request with the same bytes.
pub struct TlsUpstream {
    address: SocketAddr,
    met: Arc<Mutex<Vec<Met>>>,
}

/// A request that a provider met, and how its connection came about.
#[derive(Debug, Clone)]
pub struct Met {
    pub head: String,
    pub body: Vec<u8>,
    pub version: Option<ProtocolVersion>,
    pub resumed: bool,
    pub alpn: Option<Vec<u8>>,
}

impl TlsUpstream {
    /// Both versions of TLS. An answer with `Connection: close` ends the session, one with `Connection: cut` the
    /// connection below it alone.
    pub fn start(identity: &Identity, answer: impl Into<Vec<u8>>) -> Self {
        Self::start_with(identity, rustls::ALL_VERSIONS, answer)
    }

    pub fn start_with(
        identity: &Identity,
        versions: &[&'static SupportedProtocolVersion],
        answer: impl Into<Vec<u8>>,
    ) -> Self {
        let mut config = identity.server(versions);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (config, answer) = (Arc::new(config), Arc::<[u8]>::from(answer.into()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let met = Arc::<Mutex<Vec<Met>>>::default();
        let list = Arc::clone(&met);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (config, answer, list) = (Arc::clone(&config), Arc::clone(&answer), Arc::clone(&list));
                std::thread::spawn(move || serve(socket, config, &answer, &list));
            }
        });
        Self { address, met }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Base URL with this host.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/v1", self.address.port())
    }

    /// The requests so far.
    pub fn met(&self) -> Vec<Met> {
        self.met.lock().unwrap().clone()
    }
}

fn serve(socket: TcpStream, config: Arc<ServerConfig>, answer: &[u8], met: &Mutex<Vec<Met>>) {
    let closes = find(answer, b"Connection: close").is_some();
    let cuts = find(answer, b"Connection: cut").is_some();
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    while let Some((head, body)) = read_message(&mut stream) {
        met.lock().unwrap().push(Met {
            head,
            body,
            version: stream.conn.protocol_version(),
            resumed: stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
        });
        if stream.write_all(answer).and_then(|()| stream.flush()).is_err() {
            return;
        }
        if cuts {
            return;
        }
        if closes {
            stream.conn.send_close_notify();
            let _ = stream.flush();
            return;
        }
    }
}
