//! The model hub and its token, and the ports of our own servers.

use std::net::{Ipv4Addr, TcpListener};

use models::fetch::error::FetchError;
use models::fetch::probe::{self, Standing};
use models::fetch::settings::{SettingsError, SourceSettings};

use super::{Check, Scene};
use crate::interrupt;
use crate::process::quoted;

/// Ports that programs of ours bind unless told otherwise.
const PORTS: [(u16, &str); 2] = [(8080, "orchestrator"), (9200, "pool")];
const TOKEN_HINT: &str = "set `HF_TOKEN` to a valid token, or unset it and remove the hub's token file";

/// Whether the hub answers, and takes the token.
pub fn hub(scene: &Scene) -> Vec<Check> {
    let cache = scene.places.as_ref().map(|places| places.cache.path.clone()).unwrap_or_default();
    let settings = match SourceSettings::from_environment(&cache) {
        Ok(settings) => settings,
        Err(error @ SettingsError::Token { .. }) => return vec![Check::failed("token", error.to_string(), TOKEN_HINT)],
        Err(error @ SettingsError::Endpoint { .. }) => {
            return vec![Check::failed("hub", error.to_string(), "unset `HF_ENDPOINT`, or set it to a hub's address")];
        }
    };
    let endpoint = settings.endpoint.as_str();
    let has_token = settings.token.is_some();
    let standing = probe::hub(&settings, interrupt::flag());
    let hub = match &standing {
        Ok(Standing::Unclear { status }) => {
            let message = format!("`{endpoint}` answers with status {status}");
            let hint = match status {
                500.. => String::from("try again later; `HF_ENDPOINT` names another hub"),
                _ => format!(
                    "`curl -I {}` shows who answers; `HF_ENDPOINT` names another hub",
                    quoted(endpoint.as_ref())
                ),
            };
            Check::warning("hub", message, hint)
        }
        Ok(_) => Check::ok("hub", format!("`{endpoint}` answers")),
        Err(FetchError::SwitchedOff { variable }) => Check::ok("hub", format!("not asked: `{variable}` is on")),
        Err(error) => Check::warning(
            "hub",
            error.to_string(),
            "check the network; `HF_ENDPOINT` names another hub, `HF_HUB_OFFLINE=1` stops asking",
        ),
    };
    let token = match standing {
        _ if !has_token => Check::ok("token", "none; only models with terms to accept need one"),
        Ok(Standing::TokenAccepted) => Check::ok("token", "the hub takes it"),
        Ok(Standing::TokenRefused) => Check::failed("token", format!("`{endpoint}` refuses it"), TOKEN_HINT),
        Ok(Standing::Anonymous | Standing::Unclear { .. }) | Err(_) => Check::ok("token", "set, not checked"),
    };
    vec![hub, token]
}

/// Whether our servers will get their ports.
pub fn ports(_scene: &Scene) -> Vec<Check> {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop);
    let mut checks: Vec<Check> =
        PORTS.iter().filter_map(|(port, whose)| bind(*port).err().map(|error| taken(*port, whose, &error))).collect();
    if checks.is_empty() {
        let words = PORTS.map(|(port, whose)| format!("{port} ({whose})"));
        checks.push(Check::ok("ports", format!("{} are free", words.join(" and "))));
    }
    checks
}

fn taken(port: u16, whose: &str, error: &std::io::Error) -> Check {
    let who = if cfg!(target_os = "macos") {
        format!("lsof -nP -iTCP:{port} -sTCP:LISTEN")
    } else {
        format!("ss -ltnp 'sport = :{port}'")
    };
    let message = format!("port {port} of the {whose} cannot be had: {error}");
    Check::warning("ports", message, format!("`{who}` says who has it; stop that, or give ours another port"))
}
