//! Questions to the Hub over HTTP: tried again where it is busy, redirected without the token, refusals told apart.

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

/// How often a busy Hub is asked.
pub(crate) const TRIES: u32 = 4;
const MOST_REDIRECTS: usize = 8;
/// The largest answer other than a file: the list of a dataset of some hundred thousand files.
const MOST_ANSWER_BYTES: u64 = 256 << 20;
/// A Hub that wants a longer pause is asked no more.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(60);

/// What a question is about, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) repository: &'a str,
    pub(crate) kind: &'static str,
    pub(crate) revision: &'a str,
    /// Empty where it is the repository itself.
    pub(crate) file: &'a str,
}

impl About<'_> {
    pub(crate) fn what(&self) -> String {
        match self.file {
            "" => self.repository.to_owned(),
            file => format!("{}, file {}", self.repository, file.escape_debug()),
        }
    }
}

/// The answer to a question, and what the Hub itself said of the file on the way to it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    /// Of a file: by its first answer, before it sends elsewhere.
    pub(crate) digest: Option<Digest>,
}

/// Asks one Hub.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: Agent,
    config: HubConfig,
}

impl Client {
    pub(crate) fn new(config: &HubConfig) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Followed by hand: the client would send the token along, or not, by rules of its own.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("ddpm-hub/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self { agent, config: config.clone() }
    }

    /// The wait before another try, after `tries` of them.
    pub(crate) fn pause(&self, tries: u32) -> Duration {
        self.config.pause * 2u32.pow(tries.clamp(1, 8) - 1)
    }

    /// The address below the endpoint.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.config.endpoint)
    }

    /// Gets what is at `url`, from byte `from` on where it is not the first.
    pub(crate) fn get(&self, url: &str, range: Option<&str>, about: &About<'_>) -> Result<Answer> {
        let (mut url, mut digest) = (url.to_owned(), None);
        for _ in 0..=MOST_REDIRECTS {
            let headers: &[_] = &[(RANGE.as_str(), range.unwrap_or("bytes=0-"))];
            let headers = if range.is_some() { headers } else { &[] };
            let response = self.ask(Method::GET, &url, headers, &|| (), about)?;
            if self.config.endpoint.owns(&url) && digest.is_none() {
                digest = digest_of(response.headers());
            }
            if !response.status().is_redirection() {
                return Ok(Answer { response, digest });
            }
            url = next(&url, &response, about)?;
        }
        Err(too_many_redirects(about))
    }

    /// Gets a document of JSON.
    pub(crate) fn get_json<T: DeserializeOwned>(&self, url: &str, about: &About<'_>) -> Result<T> {
        read_json(self.get(url, None, about)?.response, url, about)
    }

    /// Gets a page of a list, and the address of the next one, where there is one.
    pub(crate) fn get_page<T: DeserializeOwned>(&self, url: &str, about: &About<'_>) -> Result<(T, Option<String>)> {
        let response = self.get(url, None, about)?.response;
        let next = next_page(text(response.headers(), LINK.as_str())).and_then(|next| Endpoint::redirect(url, next));
        Ok((read_json(response, url, about)?, next))
    }

    /// Sends JSON, lines of it or one document, and reads a document.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        content_type: &str,
        body: &str,
        about: &About<'_>,
    ) -> Result<T> {
        let headers = [(CONTENT_TYPE.as_str(), content_type), ("Accept", accept_of(content_type))];
        read_json(self.send(Method::POST, url, &headers, &|| body, about)?, url, about)
    }

    /// Sends a body, to where the Hub says that it is wanted: a model that was renamed redirects.
    ///
    /// # Errors
    /// As [`Client::ask`]; and where a redirect would lose the body, or take a question of the endpoint's elsewhere.
    pub(crate) fn send<B: AsSendBody>(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &dyn Fn() -> B,
        about: &About<'_>,
    ) -> Result<Response<Body>> {
        let mut url = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.ask(method.clone(), &url, headers, body, about)?;
            let status = response.status();
            if !status.is_redirection() {
                return Ok(response);
            }
            let bad = |problem: String| HubError::BadAnswer { what: about.what(), problem };
            // After any other a client gets what is there and sends nothing: that is no upload.
            if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
                return Err(bad(format!("expected 307 or 308 to redirect a {method}, found {}", status.as_u16())));
            }
            let next = next(&url, &response, about)?;
            let own = |url: &str| self.config.endpoint.owns(url);
            if method == Method::POST && own(&url) && !own(&next) {
                return Err(bad(format!("a redirect of a {method} to another host, {}", host(&next))));
            }
            url = next;
        }
        Err(too_many_redirects(about))
    }

    /// One question, tried again while the Hub is busy. The token goes along where the address is the endpoint's own.
    ///
    /// # Errors
    /// Every status that is none of success or redirection, as what it means.
    pub(crate) fn ask<B: AsSendBody>(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &dyn Fn() -> B,
        about: &About<'_>,
    ) -> Result<Response<Body>> {
        let own = self.config.endpoint.owns(url);
        let token = self.config.token.as_ref().filter(|_| own);
        let mut tries = 0;
        loop {
            tries += 1;
            // Bytes as they are: sizes, ranges and hashes are of those.
            let mut request = Request::builder().method(method.clone()).uri(url).header(ACCEPT_ENCODING, "identity");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(token) = token {
                request = request.header(AUTHORIZATION, token.bearer());
            }
            let request = request.body(body()).map_err(|error| HubError::BadAnswer {
                what: about.what(),
                problem: format!("an address or a header that is none: {error}"),
            })?;
            debug!("{method} {}", if own { url } else { "elsewhere" });
            let response = match self.agent.run(request) {
                Ok(response) => response,
                Err(error) if tries < TRIES && may_pass(&error) => {
                    sleep(self.pause(tries));
                    continue;
                }
                Err(error) => return Err(unreachable(&error, url, about)),
            };
            let status = response.status();
            if status.is_success() || status.is_redirection() {
                return Ok(response);
            }
            if !(status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()) {
                return Err(self.refusal(response, url, token.is_some(), about));
            }
            let wanted = wanted_pause(response.headers());
            if tries == TRIES || wanted.is_some_and(|wanted| wanted > LONGEST_PAUSE) {
                let wanted_secs = wanted.map(|wanted| wanted.as_secs());
                return Err(HubError::Busy { what: about.what(), status: status.as_u16(), tries, wanted_secs });
            }
            let pause = wanted.unwrap_or_default().max(self.pause(tries));
            let (what, status, secs) = (about.what(), status.as_u16(), pause.as_secs_f64());
            info!("{what}: the Hub is busy ({status}): waiting {secs:.1} s, then once more");
            sleep(pause);
        }
    }

    fn refusal(&self, response: Response<Body>, url: &str, had_token: bool, about: &About<'_>) -> HubError {
        let status = response.status().as_u16();
        let (what, repository) = (about.what(), about.repository.to_owned());
        let code = text(response.headers(), "X-Error-Code").to_owned();
        let own = self.config.endpoint.owns(url);
        let message = message(response);
        match (status, code.as_str()) {
            (401 | 403, "GatedRepo") => HubError::Gated { what },
            // It has no code of its own.
            (403, _) if own && message.contains("resource is disabled") => HubError::Disabled { what },
            (401, _) if own && had_token => HubError::TokenRefused { what },
            (401, _) if own => HubError::TokenMissing { what },
            (403, _) if own => HubError::Forbidden { what, message },
            (404, "RevisionNotFound") => HubError::NoRevision { repository, revision: about.revision.to_owned() },
            (404, "EntryNotFound") => HubError::NoFile { repository, file: about.file.escape_debug().collect() },
            (404, _) if own && (about.file.is_empty() || code == "RepoNotFound") => {
                HubError::NoRepository { repository, kind: about.kind }
            }
            (404, _) if own => HubError::NoFile { repository, file: about.file.escape_debug().collect() },
            _ => HubError::Refused { what, host: host(url), status, message },
        }
    }
}

/// What an answer of refusal says, on one line.
fn message(response: Response<Body>) -> String {
    const MOST_CHARACTERS: usize = 200;
    let header = text(response.headers(), "X-Error-Message").to_owned();
    let mut bytes = Vec::new();
    let _ = response.into_body().into_reader().take(4096).read_to_end(&mut bytes);
    let own = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    let own = own.as_ref().and_then(|value| value.get("error")).and_then(serde_json::Value::as_str);
    let said = if header.is_empty() { own.unwrap_or_default() } else { &header };
    let plain = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    said.chars().take(MOST_CHARACTERS).map(plain).collect()
}

/// The address that a redirect leads to.
fn next(url: &str, response: &Response<Body>, about: &About<'_>) -> Result<String> {
    Endpoint::redirect(url, text(response.headers(), LOCATION.as_str())).ok_or_else(|| HubError::BadAnswer {
        what: about.what(),
        problem: "a redirect to no address, or from https to http".to_owned(),
    })
}

fn too_many_redirects(about: &About<'_>) -> HubError {
    HubError::BadAnswer { what: about.what(), problem: format!("more than {MOST_REDIRECTS} redirects") }
}

/// The address of a header `Link` that is called next.
fn next_page(link: &str) -> Option<&str> {
    let mut links = link.split('<').filter_map(|link| link.split_once('>'));
    links.find(|(_, rest)| rest.contains("rel=\"next\"")).map(|(url, _)| url)
}

/// The pause that a busy Hub wants: `Retry-After`, or the `t` of a `RateLimit` of which nothing remains.
fn wanted_pause(headers: &HeaderMap) -> Option<Duration> {
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

fn read_json<T: DeserializeOwned>(response: Response<Body>, url: &str, about: &About<'_>) -> Result<T> {
    let bad = |problem: String| HubError::BadAnswer { what: about.what(), problem };
    let is_page = text(response.headers(), CONTENT_TYPE.as_str()).starts_with("text/html");
    let mut bytes = Vec::new();
    let body = response.into_body().into_with_config().limit(MOST_ANSWER_BYTES).reader().read_to_end(&mut bytes);
    body.map_err(|error| bad(format!("it broke off: {error}")))?;
    if is_page || bytes.trim_ascii_start().starts_with(b"<") {
        return Err(HubError::NotAHub { what: about.what(), host: host(url) });
    }
    serde_json::from_slice(&bytes).map_err(|error| bad(format!("expected JSON: {error}")))
}

/// A header as text; empty where there is none.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn digest_of(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(text(headers, "X-Linked-ETag")).or_else(|| Digest::parse(text(headers, ETAG.as_str())))
}

/// Whether a failure may be of this moment only: not one of a wrong name or of nobody there.
fn may_pass(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error {
        ureq::Error::Io(error) => {
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        }
        _ => false,
    }
}

fn unreachable(error: &ureq::Error, url: &str, about: &About<'_>) -> HubError {
    use std::io::ErrorKind::{ConnectionRefused, TimedOut};
    let reason = match error {
        ureq::Error::HostNotFound => "no such host is known".to_owned(),
        ureq::Error::Io(error) if error.kind() == ConnectionRefused => "connection refused".to_owned(),
        ureq::Error::Io(error) if error.kind() == TimedOut => "no answer in time".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        error => error.to_string(),
    };
    HubError::Unreachable { what: about.what(), host: host(url), reason }
}
