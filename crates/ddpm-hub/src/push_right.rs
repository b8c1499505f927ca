//! Whether a token may upload: asked before anything is trained.

use hf_hub::RepoType;
use serde::Deserialize;

use crate::client::Client;
use crate::error::{HubError, Result};
use crate::listing::{Listing, about};
use crate::repo_id::RepoId;

/// Whose a token is, as far as it says.
#[derive(Deserialize)]
struct WhoAmI {
    name: String,
    orgs: Option<Vec<Organisation>>,
    #[serde(default)]
    auth: Auth,
}

#[derive(Deserialize)]
struct Organisation {
    name: String,
}

#[derive(Deserialize, Default)]
struct Auth {
    #[serde(rename = "accessToken")]
    token: Option<AccessToken>,
}

#[derive(Deserialize)]
struct AccessToken {
    role: Option<String>,
}

fn owner_of(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

/// The owner of a model that was renamed, which the Hub leads to under its new name.
fn owner_now(client: &Client, id: &RepoId) -> Option<String> {
    let url = client.url(&format!("api/models/{}", id.name()));
    let model: serde_json::Value = client.get_json(&url, &about(id, RepoType::Model, "")).ok()?;
    Some(owner_of(model.get("id")?.as_str()?).to_owned())
}

/// Asks whose the token is and whether the branch exists, where one is said.
///
/// A fine-grained token may have rights that this does not tell: it is only then refused when the upload begins.
pub(crate) fn check_right(client: &Client, id: &RepoId) -> Result<()> {
    let about = about(id, RepoType::Model, "");
    let who: WhoAmI = client.get_json(&client.url("api/whoami-v2"), &about)?;
    let refused = |reason| Err(HubError::PushNotAllowed { what: id.to_string(), reason });
    let role = who.auth.token.and_then(|token| token.role).unwrap_or_default();
    if role == "read" {
        return refused("that of HF_TOKEN may read only".to_owned());
    }
    let is = |owner: &str, name: &str| name.eq_ignore_ascii_case(owner);
    let may = |owner: &str| {
        is(owner, &who.name) || who.orgs.as_ref().is_some_and(|orgs| orgs.iter().any(|org| is(owner, &org.name)))
    };
    let owner = owner_of(id.name());
    if role == "write" && !may(owner) && !owner_now(client, id).is_some_and(|owner| may(&owner)) {
        return refused(format!("that of HF_TOKEN is of {}, who is not of {owner}", who.name.escape_debug()));
    }
    if !id.has_revision() {
        return Ok(());
    }
    let no_branch = || HubError::NoBranch { what: id.to_string() };
    match Listing::ask(client, id, RepoType::Model) {
        _ if id.commit().is_some() => Err(no_branch()),
        Err(HubError::NoRevision { .. }) => Err(no_branch()),
        // It will be created, with one branch.
        Err(HubError::NoRepository { .. }) if id.revision() != "main" => Err(no_branch()),
        Err(HubError::NoRepository { .. }) => Ok(()),
        found => found.map(drop),
    }
}
