//! HTTP requests to the Hub: retries while it is busy, redirects without the token, and a separate error for each
//! kind of refusal.

use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tracing::{debug, info};
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, ETAG, LINK, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode};
use ureq::{Agent, AsSendBody, Body};

use crate::config::HubConfig;
use crate::digest::Digest;
use crate::endpoint::{Endpoint, host};
use crate::error::{HubError, Result};
use crate::steady_reader::SteadyReader;

/// The number of attempts for a request to a busy Hub.
pub(crate) const MAX_TRIES: u32 = 4;
/// The largest number of redirects of one request.
const MAX_REDIRECTS: usize = 8;
/// The largest response other than a file: the list of a dataset of several hundred thousand files.
const MAX_RESPONSE_BYTES: u64 = 256 << 20;
/// The longest delay requested by the Hub that is respected.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(300);
/// The time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time without any data.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The repository and the file that a request concerns, for error messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestTarget<'a> {
    pub(crate) repository: &'a str,
    pub(crate) kind: &'static str,
    pub(crate) revision: &'a str,
    /// The path of the file; empty for the repository itself.
    pub(crate) file: &'a str,
}

impl RequestTarget<'_> {
    pub(crate) fn description(&self) -> String {
        match self.file {
            "" => self.repository.to_owned(),
            file => format!("{}, file {}", self.repository, file.escape_debug()),
        }
    }
}

/// The response to a request for a file, and the hash that the Hub itself gave.
#[derive(Debug)]
pub(crate) struct FileResponse {
    pub(crate) response: Response<Body>,
    /// The hash in the first response of the Hub, before it redirects to the storage of large files.
    pub(crate) digest: Option<Digest>,
}

/// An HTTP client for one Hub.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: Agent,
    config: HubConfig,
}

impl Client {
    pub(crate) fn new(config: &HubConfig) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Redirects are followed by this module, because it must decide whether the token is sent along.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .user_agent(concat!("ddpm-hub/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self { agent, config: config.clone() }
    }

    /// The delay before the next attempt, after `tries` attempts.
    pub(crate) fn retry_delay(&self, tries: u32) -> Duration {
        self.config.retry_delay * 2u32.pow(tries.clamp(1, 8) - 1)
    }

    /// The URL of a path of the endpoint.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.config.endpoint)
    }

    /// Requests the file at `url`, or a range of its bytes.
    pub(crate) fn get(&self, url: &str, range: Option<&str>, target: &RequestTarget<'_>) -> Result<FileResponse> {
        let (mut url, mut digest) = (url.to_owned(), None);
        for _ in 0..=MAX_REDIRECTS {
            let headers: &[_] = &[(RANGE.as_str(), range.unwrap_or("bytes=0-"))];
            let headers = if range.is_some() { headers } else { &[] };
            let response = self.ask(Method::GET, &url, headers, &|| (), target)?;
            if self.config.endpoint.owns(&url) && digest.is_none() {
                digest = digest_of(response.headers());
            }
            if !response.status().is_redirection() {
                return Ok(FileResponse { response, digest });
            }
            url = next(&url, &response, target)?;
        }
        Err(too_many_redirects(target))
    }

    /// Requests a JSON document.
    pub(crate) fn get_json<T: DeserializeOwned>(&self, url: &str, target: &RequestTarget<'_>) -> Result<T> {
        read_json(self.get(url, None, target)?.response, url, target)
    }

    /// Requests a page of a list. Returns it with the URL of the next page, if there is one.
    pub(crate) fn get_page<T: DeserializeOwned>(
        &self,
        url: &str,
        target: &RequestTarget<'_>,
    ) -> Result<(T, Option<String>)> {
        let response = self.get(url, None, target)?.response;
        let next = next_page(text(response.headers(), LINK.as_str())).and_then(|next| Endpoint::redirect(url, next));
        Ok((read_json(response, url, target)?, next))
    }

    /// Sends a JSON document or JSON lines, and reads a JSON document.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        content_type: &str,
        body: &str,
        target: &RequestTarget<'_>,
    ) -> Result<T> {
        let headers = [(CONTENT_TYPE.as_str(), content_type), ("Accept", accept_of(content_type))];
        read_json(self.send(Method::POST, url, &headers, &|| body, target)?, url, target)
    }

    /// Sends a body, following redirects: the Hub redirects requests for a renamed model.
    ///
    /// # Errors
    /// The errors of [`Client::ask`], and [`HubError::BadAnswer`] for a redirect that would drop the body or that would
    /// send a request for the endpoint to another host.
    pub(crate) fn send<B: AsSendBody>(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &dyn Fn() -> B,
        target: &RequestTarget<'_>,
    ) -> Result<Response<Body>> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask(method.clone(), &url, headers, body, target)?;
            let status = response.status();
            if !status.is_redirection() {
                return Ok(response);
            }
            let bad = |problem: String| HubError::BadAnswer { what: target.description(), problem };
            // After any other redirect a client sends a GET request without the body, so nothing would be uploaded.
            if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
                return Err(bad(format!("expected 307 or 308 to redirect a {method}, found {}", status.as_u16())));
            }
            let next = next(&url, &response, target)?;
            let own = |url: &str| self.config.endpoint.owns(url);
            if method == Method::POST && own(&url) && !own(&next) {
                return Err(bad(format!("a redirect of a {method} to another host, {}", host(&next))));
            }
            url = next;
        }
        Err(too_many_redirects(target))
    }

    /// Sends one request, with retries while the Hub is busy. The token is only sent to the endpoint.
    ///
    /// # Errors
    /// An error for every status other than success and redirection.
    pub(crate) fn ask<B: AsSendBody>(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &dyn Fn() -> B,
        target: &RequestTarget<'_>,
    ) -> Result<Response<Body>> {
        let own = self.config.endpoint.owns(url);
        let token = self.config.token.as_ref().filter(|_| own);
        let mut tries = 0;
        loop {
            tries += 1;
            // No compression: sizes, ranges and hashes refer to the bytes of the file.
            let mut request = Request::builder().method(method.clone()).uri(url).header(ACCEPT_ENCODING, "identity");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(token) = token {
                request = request.header(AUTHORIZATION, token.bearer());
            }
            let request = request.body(body()).map_err(|error| HubError::BadAnswer {
                what: target.description(),
                problem: format!("an invalid address or header: {error}"),
            })?;
            debug!("{method} {}", if own { url } else { "elsewhere" });
            let response = match self.agent.run(request) {
                Ok(response) => response,
                Err(error) if tries < MAX_TRIES && is_transient(&error) => {
                    sleep(self.retry_delay(tries));
                    continue;
                }
                Err(error) => return Err(unreachable(&error, url, target)),
            };
            let status = response.status();
            if status.is_success() || status.is_redirection() {
                return Ok(response);
            }
            if !(status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()) {
                return Err(self.refusal(response, url, token.is_some(), target));
            }
            let requested = requested_delay(response.headers());
            if tries == MAX_TRIES || requested.is_some_and(|requested| requested > MAX_RETRY_DELAY) {
                let requested_secs = requested.map(|requested| requested.as_secs());
                return Err(HubError::Busy {
                    what: target.description(),
                    status: status.as_u16(),
                    tries,
                    requested_secs,
                });
            }
            let delay = requested.unwrap_or_default().max(self.retry_delay(tries));
            let (what, status, secs) = (target.description(), status.as_u16(), delay.as_secs_f64());
            info!("{what}: the Hub is busy ({status}): retrying in {secs:.1} s");
            sleep(delay);
        }
    }

    fn refusal(&self, response: Response<Body>, url: &str, had_token: bool, target: &RequestTarget<'_>) -> HubError {
        let status = response.status().as_u16();
        let (what, repository) = (target.description(), target.repository.to_owned());
        let code = text(response.headers(), "X-Error-Code").to_owned();
        let own = self.config.endpoint.owns(url);
        let message = message(response);
        match (status, code.as_str()) {
            (401 | 403, "GatedRepo") => HubError::Gated { what },
            // This refusal has no error code of its own.
            (403, _) if own && message.contains("resource is disabled") => HubError::Disabled { what },
            (401, _) if own && had_token => HubError::TokenRefused { what },
            (401, _) if own => HubError::TokenMissing { what },
            (403, _) if own => HubError::Forbidden { what, message },
            (404, "RevisionNotFound") => HubError::NoRevision { repository, revision: target.revision.to_owned() },
            (404, "EntryNotFound") => HubError::NoFile { repository, file: target.file.escape_debug().collect() },
            (404, _) if own && (target.file.is_empty() || code == "RepoNotFound") => {
                HubError::NoRepository { repository, kind: target.kind }
            }
            (404, _) if own => HubError::NoFile { repository, file: target.file.escape_debug().collect() },
            _ => HubError::Refused { what, host: host(url), status, message },
        }
    }
}

/// The error message in a response, on one line.
fn message(response: Response<Body>) -> String {
    const MAX_CHARACTERS: usize = 200;
    let header = text(response.headers(), "X-Error-Message").to_owned();
    let mut bytes = Vec::new();
    let _ = response.into_body().into_reader().take(4096).read_to_end(&mut bytes);
    let own = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    let own = own.as_ref().and_then(|value| value.get("error")).and_then(serde_json::Value::as_str);
    let text = if header.is_empty() { own.unwrap_or_default() } else { &header };
    let plain = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().take(MAX_CHARACTERS).map(plain).collect()
}

/// The URL that a redirect points to.
fn next(url: &str, response: &Response<Body>, target: &RequestTarget<'_>) -> Result<String> {
    Endpoint::redirect(url, text(response.headers(), LOCATION.as_str())).ok_or_else(|| HubError::BadAnswer {
        what: target.description(),
        problem: "a redirect to an invalid address, or from https to http".to_owned(),
    })
}

fn too_many_redirects(target: &RequestTarget<'_>) -> HubError {
    HubError::BadAnswer { what: target.description(), problem: format!("more than {MAX_REDIRECTS} redirects") }
}

/// The URL with `rel="next"` in a `Link` header.
fn next_page(link: &str) -> Option<&str> {
    let mut links = link.split('<').filter_map(|link| link.split_once('>'));
    links.find(|(_, rest)| rest.contains("rel=\"next\"")).map(|(url, _)| url)
}

/// The delay that a busy Hub requests: the header `Retry-After`, or `t` of a header `RateLimit` with nothing remaining.
fn requested_delay(headers: &HeaderMap) -> Option<Duration> {
    let after = text(headers, RETRY_AFTER.as_str()).trim().parse().ok();
    let limits = text(headers, "RateLimit").split(',').filter_map(|limit| {
        let mut parts = limit.split(';').map(str::trim);
        let spent = parts.clone().any(|part| part == "r=0");
        parts.find_map(|part| part.strip_prefix("t=")?.parse().ok()).filter(|_| spent)
    });
    after.into_iter().chain(limits).max().map(Duration::from_secs)
}

fn accept_of(content_type: &str) -> &str {
    if content_type == "application/x-ndjson" { "application/json" } else { content_type }
}

fn read_json<T: DeserializeOwned>(response: Response<Body>, url: &str, target: &RequestTarget<'_>) -> Result<T> {
    let bad = |problem: String| HubError::BadAnswer { what: target.description(), problem };
    let is_page = text(response.headers(), CONTENT_TYPE.as_str()).starts_with("text/html");
    let mut bytes = Vec::new();
    let reader = response.into_body().into_with_config().limit(MAX_RESPONSE_BYTES).reader();
    let body = SteadyReader::new(reader).read_to_end(&mut bytes);
    body.map_err(|error| bad(format!("the connection broke: {error}")))?;
    if is_page || bytes.trim_ascii_start().starts_with(b"<") {
        return Err(HubError::NotAHub { what: target.description(), host: host(url) });
    }
    serde_json::from_slice(&bytes).map_err(|error| bad(format!("expected JSON: {error}")))
}

/// The value of a header; empty if it is absent.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn digest_of(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(text(headers, "X-Linked-ETag")).or_else(|| Digest::parse(text(headers, ETAG.as_str())))
}

/// Whether a retry may succeed: the connection broke, as opposed to an unknown host or a refused connection.
fn is_transient(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        ureq::Error::Io(error) => {
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        }
        _ => false,
    }
}

fn unreachable(error: &ureq::Error, url: &str, target: &RequestTarget<'_>) -> HubError {
    use std::io::ErrorKind::{ConnectionRefused, TimedOut};
    let reason = match error {
        ureq::Error::HostNotFound => "unknown host".to_owned(),
        ureq::Error::Io(error) if error.kind() == ConnectionRefused => "connection refused".to_owned(),
        ureq::Error::Io(error) if error.kind() == TimedOut => "no answer in time".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        error => error.to_string(),
    };
    HubError::Unreachable { what: target.description(), host: host(url), reason }
}
