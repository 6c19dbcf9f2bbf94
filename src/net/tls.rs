//! TLS on both sides by rustls, driven by the connection's readiness.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

use super::conn::{Conn, RawIo};

const ALPN_HTTP1: &[u8] = b"http/1.1";

/// What a hand-shake waits for.
#[derive(Debug)]
pub(super) enum Step {
    Done,
    Read,
    Write,
}

/// One TLS session above a connection.
pub(super) struct TlsSession {
    session: Connection,
}

impl TlsSession {
    pub(super) fn has_plaintext(&mut self) -> bool {
        // A processed record may be waiting, or the end of the stream may be known already.
        match self.session.process_new_packets() {
            Ok(state) => state.plaintext_bytes_to_read() > 0 || state.peer_has_closed(),
            Err(_) => true,
        }
    }

    pub(super) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    pub(super) fn try_read(&mut self, raw: &mut RawIo<'_>, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.pull(raw)?,
                // A peer that ends without close_notify: HTTP framing decides whether that is a truncation, and where
                // it leaves it open, `Conn::end_is_unconfirmed` does.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            };
        }
    }

    /// Whether the peer has said that it ends the session.
    pub(super) fn peer_has_closed(&mut self) -> bool {
        self.session.process_new_packets().is_ok_and(|state| state.peer_has_closed())
    }

    /// Like a peek at the socket: 0 at the end, 1 when plaintext waits.
    pub(super) fn peek(&mut self, raw: &mut RawIo<'_>) -> io::Result<usize> {
        if !self.has_plaintext() {
            let ended = self.pull(raw)?;
            if ended {
                return Ok(0);
            }
        }
        let state = self.session.process_new_packets().map_err(invalid)?;
        match (state.plaintext_bytes_to_read(), state.peer_has_closed()) {
            (1.., _) => Ok(1),
            (0, true) => Ok(0),
            (0, false) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes ciphertext from the socket. Returns whether the socket has ended.
    fn pull(&mut self, raw: &mut RawIo<'_>) -> io::Result<bool> {
        let count = self.session.read_tls(raw)?;
        if let Err(error) = self.session.process_new_packets() {
            // The alert that says why is worth one try.
            let _ = self.session.write_tls(raw);
            return Err(invalid(error));
        }
        // Answers of the protocol itself (key updates) go out when the socket takes them.
        let _ = self.flush(raw);
        Ok(count == 0)
    }

    /// Encrypts and sends; 0 with `wants_write` set means that the socket is full.
    pub(super) fn try_write(&mut self, raw: &mut RawIo<'_>, data: &[u8]) -> io::Result<usize> {
        self.flush(raw)?;
        let count = self.session.writer().write(data)?;
        match self.flush(raw) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    fn flush(&mut self, raw: &mut RawIo<'_>) -> io::Result<()> {
        while self.session.wants_write() {
            if self.session.write_tls(raw)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    pub(super) fn send_close_notify(&mut self, raw: &mut RawIo<'_>) {
        self.session.send_close_notify();
        let _ = self.flush(raw);
    }

    pub(super) fn handshake_step(&mut self, raw: &mut RawIo<'_>) -> io::Result<Step> {
        loop {
            match self.flush(raw) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Write),
                other => other?,
            }
            if !self.session.is_handshaking() {
                return Ok(Step::Done);
            }
            match self.pull(raw) {
                Ok(true) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Read),
                Err(error) => return Err(error),
            }
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Whether a hand-shake failed because of the peer's certificate: not trusted, expired, of another name, or missing.
pub fn is_about_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

impl Conn {
    /// Answers a client's hand-shake. The caller bounds its time by the deadline slot.
    pub async fn accept_tls(&mut self, config: &Arc<ServerConfig>) -> io::Result<()> {
        let session = ServerConnection::new(Arc::clone(config)).map_err(invalid)?;
        self.set_tls(TlsSession { session: session.into() });
        self.complete_handshake().await
    }

    /// Opens TLS towards a provider and verifies that it is `name`.
    pub async fn connect_tls(&mut self, config: &Arc<ClientConfig>, name: &str) -> io::Result<()> {
        let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(bare).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(invalid)?;
        self.set_tls(TlsSession { session: session.into() });
        self.complete_handshake().await
    }

    /// Whether the stream ended, or will end, without the peer's word for it: TLS without `close_notify`, which
    /// anybody on the way can bring about. A plain connection has no such word.
    pub fn end_is_unconfirmed(&mut self) -> bool {
        self.tls_mut().is_some_and(|tls| !tls.peer_has_closed())
    }

    /// Whether this hand-shake resumed an earlier session; false on a plain connection.
    pub fn tls_resumed(&mut self) -> bool {
        self.tls_mut().is_some_and(|tls| tls.session.handshake_kind() == Some(rustls::HandshakeKind::Resumed))
    }
}

/// The one set of cryptography.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads certificate chain and key for the listener.
///
/// # Errors
/// A text that names the file and what was expected in it.
pub fn server_config(cert_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, String> {
    let chain = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("{}: expected a PEM certificate chain: {error}", cert_file.display()))?;
    if chain.is_empty() {
        return Err(format!("{}: expected a PEM certificate chain, found none", cert_file.display()));
    }
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| format!("{}: expected a PEM private key: {error}", key_file.display()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("{}: the key does not fit the certificate: {error}", key_file.display()))?;
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    if let Ok(ticketer) = rustls::crypto::ring::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(Arc::new(config))
}

/// The system's trust roots; none where it has none.
pub fn system_roots() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

/// Trust for calls to providers: the system's roots and an optional file of further ones.
///
/// # Errors
/// A text that names the file and what was expected in it. A system without roots is no error: the file may hold the
/// only one that is needed.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let (roots, _) = load_roots(ca_file)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}

/// The same roots as certificates, for clients that make a configuration of their own.
///
/// # Errors
/// As for [`client_config`].
pub fn roots(ca_file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, String> {
    load_roots(ca_file).map(|(_, roots)| roots)
}

fn load_roots(ca_file: Option<&Path>) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), String> {
    let mut roots = RootCertStore::empty();
    let mut certificates = system_roots();
    // A system may have some that rustls does not read.
    certificates.retain(|certificate| roots.add(certificate.clone()).is_ok());
    if let Some(file) = ca_file {
        let extra = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("{}: expected PEM certificates: {error}", file.display()))?;
        if extra.is_empty() {
            return Err(format!("{}: expected PEM certificates, found none", file.display()));
        }
        for certificate in extra {
            roots
                .add(certificate.clone())
                .map_err(|error| format!("{}: not usable as a trust root: {error}", file.display()))?;
            certificates.push(certificate);
        }
    }
    Ok((roots, certificates))
}
