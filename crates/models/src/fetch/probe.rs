//! Whether the hub answers, and whether it takes the token: one short question, nothing fetched.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ureq::http::{Method, Uri};

use super::FetchError;
use super::settings::{Clocks, Endpoint, SourceSettings};
use super::transport::{Question, Transport};

/// Where the hub says who a token belongs to.
const WHO_AM_I: &str = "api/whoami-v2";
/// Name resolution and connection together stay below two seconds: nobody waits longer to learn that there is no network.
const RESOLVE: Duration = Duration::from_millis(600);
/// See [`RESOLVE`].
const CONNECT: Duration = Duration::from_millis(900);
/// From the request to the answer's headers, for a hub that was reached.
const FIRST_BYTE: Duration = Duration::from_millis(3000);

/// What a hub that answers thinks of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No token was sent.
    Anonymous,
    /// The token is good.
    TokenAccepted,
    /// The token is not.
    TokenRefused,
    /// It did not say: it is busy, no hub of the usual kind, or something else that stands in its place.
    Unclear {
        /// HTTP status of the answer.
        status: u16,
    },
}

/// Asks the hub. The token goes to the endpoint itself and to nobody that it redirects to.
///
/// # Errors
/// It is switched off, cannot be reached, or did not answer in time; `cancel` was set.
pub fn hub(settings: &SourceSettings, cancel: &AtomicBool) -> Result<Standing, FetchError> {
    if let Some(variable) = settings.switched_off_by {
        return Err(FetchError::SwitchedOff { variable });
    }
    let clocks = Clocks { resolve: RESOLVE, connect: CONNECT, first_byte: FIRST_BYTE, ..settings.clocks };
    let (method, url) = match &settings.token {
        Some(_) => (Method::GET, format!("{}/{WHO_AM_I}", settings.endpoint.as_str())),
        None => (Method::HEAD, settings.endpoint.as_str().to_owned()),
    };
    let url: Uri = url.parse().map_err(|_| not_an_address(&settings.endpoint))?;
    let bearer = settings.token.as_ref().map(|token| ("authorization", format!("Bearer {}", token.secret())));
    let headers = bearer.into_iter().collect();
    let question = Question { method, url: &url, headers, briefly: false };
    let (status, _) = Transport::new(&clocks).ask(question)?.head(cancel)?;
    Ok(match (status, &settings.token) {
        (..=399, None) => Standing::Anonymous,
        (200, Some(_)) => Standing::TokenAccepted,
        (401 | 403, Some(_)) => Standing::TokenRefused,
        (_, None | Some(_)) => Standing::Unclear { status },
    })
}

fn not_an_address(endpoint: &Endpoint) -> FetchError {
    FetchError::Protocol { host: endpoint.as_str().to_owned(), what: String::from("it is not an address") }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use super::{Standing, hub};
    use crate::environment;
    use crate::fetch::FetchError;
    use crate::fetch::settings::SourceSettings;

    /// Asks a server that answers once with `status`; what it was asked.
    fn ask(status: &'static str, token: Option<&'static str>) -> (Standing, String) {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = format!("http://{}", server.local_addr().expect("an address"));
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines().map_while(Result::ok);
            let asked: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("written");
            asked.join("\n").to_ascii_lowercase()
        });
        let lookup = move |name: &str| match name {
            environment::HUB_ENDPOINT => Some(endpoint.clone().into()),
            environment::HUB_TOKEN => token.map(Into::into),
            _ => None,
        };
        let settings = SourceSettings::resolve(&lookup, Path::new("/cache")).expect("settings");
        let standing = hub(&settings, &AtomicBool::new(false)).expect("an answer");
        (standing, answering.join().expect("asked"))
    }

    #[test]
    fn the_hub_says_what_it_thinks_of_a_token() {
        let (standing, asked) = ask("200 OK", Some("secret"));
        assert_eq!(standing, Standing::TokenAccepted);
        assert!(asked.starts_with("get /api/whoami-v2 ") && asked.contains("authorization: bearer secret"), "{asked}");
        assert_eq!(ask("401 Unauthorized", Some("secret")).0, Standing::TokenRefused);
        assert_eq!(ask("302 Found", Some("secret")).0, Standing::Unclear { status: 302 });
        let (standing, asked) = ask("302 Found", None);
        assert!(standing == Standing::Anonymous && !asked.contains("authorization"), "{asked}");
        assert_eq!(ask("503 Busy", None).0, Standing::Unclear { status: 503 });
        assert_eq!(ask("404 Not Found", None).0, Standing::Unclear { status: 404 });
    }

    #[test]
    fn a_hub_that_is_switched_off_is_not_asked() {
        let lookup = |name: &str| (name == environment::HUB_OFFLINE).then(|| "1".into());
        let settings = SourceSettings::resolve(&lookup, Path::new("/cache")).expect("settings");
        let asked = hub(&settings, &AtomicBool::new(false));
        assert!(matches!(asked, Err(FetchError::SwitchedOff { variable: "HF_HUB_OFFLINE" })), "{asked:?}");
    }
}
