//! `routerly service configure`, `telemetry`, `notifications test`: the gateway's settings.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Context;
use super::failure::Failure;
use super::print::{cell, note, pairs};

/// What is done with the service.
#[derive(Debug, Subcommand)]
pub enum Service {
    /// Show account and gateway
    Status,
    /// Change settings of the gateway
    Configure(Box<ConfigureArgs>),
}

/// Flags of `service configure`.
#[derive(Debug, Args)]
pub struct ConfigureArgs {
    /// Port to listen on; takes a restart
    #[arg(long)]
    port: Option<u16>,
    /// Address to listen on; takes a restart
    #[arg(long)]
    host: Option<String>,
    /// Serve the dashboard
    #[arg(long, value_name = "true|false")]
    dashboard: Option<bool>,
    /// trace, debug, info, warn or error
    #[arg(long)]
    log_level: Option<String>,
    /// Time of one attempt up to the first byte, in milliseconds
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,
    /// Where people reach this gateway
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

/// What is done with telemetry.
#[derive(Debug, Subcommand)]
pub enum Telemetry {
    /// Show whether it is on
    Status,
    /// Allow it
    On,
    /// Forbid it
    Off,
}

/// What is done with alerts.
#[derive(Debug, Subcommand)]
pub enum Notifications {
    /// Send a message over a channel
    Test {
        /// Id or name of the channel
        channel: String,
        /// Who gets it [default: the channel's own]
        #[arg(long)]
        to: Option<String>,
    },
}

pub(super) fn configure(context: &Context, args: &ConfigureArgs) -> Result<(), Failure> {
    let mut body = Map::new();
    body.extend(args.port.map(|port| ("port".to_owned(), port.into())));
    body.extend(args.host.as_ref().map(|host| ("host".to_owned(), host.clone().into())));
    body.extend(args.dashboard.map(|on| ("dashboardEnabled".to_owned(), on.into())));
    body.extend(args.log_level.as_ref().map(|level| ("logLevel".to_owned(), level.clone().into())));
    body.extend(args.timeout.map(|ms| ("defaultTimeoutMs".to_owned(), ms.into())));
    body.extend(args.public_url.as_ref().map(|url| ("publicUrl".to_owned(), url.clone().into())));
    if body.is_empty() {
        note("nothing to change; --help lists what there is");
        return Ok(());
    }
    let settings = context.api()?.call("PUT", "settings", Some(&Value::Object(body)))?;
    context.done(&settings, || match settings["restartRequired"] == true {
        true => "the settings are changed; restart the gateway for port and host".to_owned(),
        false => "the settings are changed and in force".to_owned(),
    })
}

pub(super) fn telemetry(context: &Context, command: Telemetry) -> Result<(), Failure> {
    let mut api = context.api()?;
    let settings = match command {
        Telemetry::Status => api.get("settings")?,
        Telemetry::On | Telemetry::Off => {
            let enabled = matches!(command, Telemetry::On);
            api.call("PUT", "settings", Some(&json!({"telemetry": {"enabled": enabled}})))?
        }
    };
    let telemetry = &settings["telemetry"];
    let state = json!({"enabled": telemetry["enabled"] == true, "installId": telemetry["installId"]});
    context.output.show(&state, || {
        pairs(&[
            ("Telemetry", if state["enabled"] == true { "on" } else { "off" }.to_owned()),
            ("Install id", cell(&state["installId"])),
            ("Sent", "nothing: no endpoint is built in".to_owned()),
        ])
    })
}

pub(super) fn notifications(context: &Context, command: Notifications) -> Result<(), Failure> {
    let Notifications::Test { channel, to } = command;
    let mut body = json!({"channelId": channel, "channelName": channel});
    if let Some(to) = to {
        body["to"] = to.into();
    }
    let answer = context.api()?.call("POST", "notifications/test", Some(&body))?;
    if answer["ok"] != true {
        let reason = answer["message"].as_str().unwrap_or("the message was not delivered");
        return Err(Failure::failed(reason));
    }
    context.done(&answer, || match answer["fixedSecure"].as_bool() {
        Some(secure) => {
            format!("sent over {channel}, with the other kind of TLS: set its secure to {secure}")
        }
        None => format!("sent over {channel}"),
    })
}
