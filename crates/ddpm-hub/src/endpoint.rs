//! The address of the Hub, and which URLs belong to it.

use std::fmt;

use ureq::http::Uri;

use crate::error::{HubError, Result};

/// The root URL of a Hub: `https://huggingface.co`, or a mirror with the same interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL without a slash at its end.
    root: String,
    origin: Origin,
}

/// The scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Parses a URL such as `https://huggingface.co`.
    ///
    /// # Errors
    /// [`HubError::BadEndpoint`] when the scheme is neither http nor https, or the URL contains a user or a query.
    pub fn new(address: &str) -> Result<Self> {
        let root = address.trim_end_matches('/');
        let bad = || HubError::BadEndpoint { found: address.to_owned() };
        let origin = origin(root).filter(|_| !root.contains(['?', '#', '@'])).ok_or_else(bad)?;
        Ok(Self { root: root.to_owned(), origin })
    }

    /// Whether a URL has the scheme, host and port of this endpoint, so that the token may be sent to it.
    pub(crate) fn owns(&self, url: &str) -> bool {
        origin(url).is_some_and(|origin| origin == self.origin)
    }

    /// The URL that the `Location` header of a redirect means at `url`. `None` if it is not a valid URL, or leads from
    /// https to http.
    pub(crate) fn redirect(url: &str, location: &str) -> Option<String> {
        let from = origin(url)?;
        let scheme = if from.secure { "https" } else { "http" };
        let at: Uri = url.parse().ok()?;
        // A scheme ends before the first slash or question mark.
        let is_whole = location.split(['/', '?']).next().is_some_and(|first| first.contains(':'));
        let next = if is_whole {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", at.authority()?)
        } else {
            let directory = at.path().rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{scheme}://{}{directory}/{location}", at.authority()?)
        };
        if location.is_empty() {
            return None;
        }
        origin(&next).filter(|to| to.secure || !from.secure).map(|_| next)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)
    }
}

/// The host of a URL, for messages. The rest of a signed URL is a secret.
pub(crate) fn host(url: &str) -> String {
    origin(url).map_or_else(|| "an unreadable address".to_owned(), |origin| origin.host)
}

fn origin(url: &str) -> Option<Origin> {
    let uri: Uri = url.parse().ok()?;
    let secure = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    Some(Origin { secure, host: authority.host().to_ascii_lowercase(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_with_the_same_scheme_host_and_port_belong_to_the_endpoint() {
        let hub = Endpoint::new("https://hub.example/").expect("an address");
        assert_eq!(hub.to_string(), "https://hub.example");
        assert!(hub.owns("https://HUB.example:443/a?b=c"));
        for other in [
            "http://hub.example/",
            "https://hub.example:444/",
            "https://cdn.hub.example/",
            "https://hub.example.evil/",
            "https://hub.example@evil/",
            "/a",
        ] {
            assert!(!hub.owns(other), "{other}");
        }
        for bad in ["hub.example", "ftp://hub.example", "https://user@hub.example", "https://hub.example?a", ""] {
            assert!(Endpoint::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_redirect_from_https_to_http_is_refused() {
        let at = "https://hub.example/a/b";
        assert_eq!(Endpoint::redirect(at, "/c?d").as_deref(), Some("https://hub.example/c?d"));
        assert_eq!(Endpoint::redirect(at, "https://cdn/x").as_deref(), Some("https://cdn/x"));
        assert_eq!(Endpoint::redirect(at, "//cdn/x").as_deref(), Some("https://cdn/x"));
        assert_eq!(Endpoint::redirect(at, "c?d=e:f").as_deref(), Some("https://hub.example/a/c?d=e:f"));
        for bad in ["http://hub.example/a", "//user@evil/a", "file:///etc/passwd", "", "//"] {
            assert_eq!(Endpoint::redirect(at, bad), None, "{bad}");
        }
    }
}
