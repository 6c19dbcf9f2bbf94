//! What runs here.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::{Value, json};

use super::answer::json_answer;
use super::ask::Ask;
use super::office::Office;
use super::routes::Answered;
use super::session;
use crate::clock;
use crate::config::env;

/// Facts of the process that no file has.
#[derive(Debug)]
pub struct Running {
    /// When it began.
    pub since: Instant,
    /// Where it listens.
    pub address: SocketAddr,
    /// Data-plane threads.
    pub cores: usize,
    /// How they wait for the kernel; known once they run.
    pub driver: OnceLock<String>,
}

/// `GET /api/system/info`: little for anybody, more for who has signed in.
pub(super) fn info(office: &mut Office, ask: &Ask<'_>) -> Answered {
    let mut info = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "channel": office.mailbox.snapshot().config.settings().channel,
        "isDocker": is_container(),
        "needsSetup": !office.is_set_up(),
    });
    if session::who(ask.call, &office.signer, &office.accounts, ask.now_ms).is_ok() {
        add_details(office, &mut info);
    }
    Ok(json_answer(200, &info))
}

fn add_details(office: &Office, info: &mut Value) {
    let running = &office.running;
    let snapshot = office.mailbox.snapshot();
    let (config, settings) = (&snapshot.config, snapshot.config.settings());
    let runtime = format!("routerly {} (native)", env!("CARGO_PKG_VERSION"));
    let details = json!({
        "runtime": runtime,
        "nodeVersion": runtime,
        "platform": env::platform(),
        "configDir": office.home.config_directory(),
        "dataDir": office.home.data_directory(),
        "uptimeSeconds": clock::now().saturating_duration_since(running.since).as_secs(),
        // No release server is asked.
        "updateInfo": null,
        "listeningAddress": running.address.to_string(),
        "tls": settings.tls.is_some(),
        "publicUrl": settings.public_url,
        "dashboardEnabled": settings.dashboard_enabled,
        "logLevel": settings.log_level.as_str(),
        "defaultTimeoutMs": settings.default_timeout.as_millis() as u64,
        "cores": running.cores,
        "driver": running.driver.get(),
        "degraded": office.mailbox.is_degraded(),
        "modelCount": config.models().len(),
        "projectCount": config.projects().len(),
    });
    if let (Some(info), Value::Object(details)) = (info.as_object_mut(), details) {
        info.extend(details);
    }
}

/// The files by which Docker and Podman tell a process where it is.
fn is_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists())
}
