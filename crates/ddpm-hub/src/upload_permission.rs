//! Checks the permission to upload, before a training run starts.

use hf_hub::RepoType;
use serde::Deserialize;

use crate::client::Client;
use crate::error::{HubError, Result};
use crate::listing::{Listing, request_target};
use crate::repo_id::RepoId;

/// The owner of a token, as far as the Hub reveals it.
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

/// The owner of a renamed model: the Hub redirects to the new name.
fn current_owner(client: &Client, id: &RepoId) -> Option<String> {
    let url = client.url(&format!("api/models/{}", id.name()));
    let model: serde_json::Value = client.get_json(&url, &request_target(id, RepoType::Model, "")).ok()?;
    Some(owner_of(model.get("id")?.as_str()?).to_owned())
}

/// Checks whether the token may write to models of this owner, and whether the branch exists if one was given.
///
/// A fine-grained token may lack a permission that this check cannot see. The upload is refused then.
pub(crate) fn check_upload_permission(client: &Client, id: &RepoId) -> Result<()> {
    let target = request_target(id, RepoType::Model, "");
    let who: WhoAmI = client.get_json(&client.url("api/whoami-v2"), &target)?;
    let refused = |reason| Err(HubError::UploadNotPermitted { what: id.to_string(), reason });
    let role = who.auth.token.and_then(|token| token.role).unwrap_or_default();
    if role == "read" {
        return refused("that of HF_TOKEN may read only".to_owned());
    }
    let is = |owner: &str, name: &str| name.eq_ignore_ascii_case(owner);
    let may = |owner: &str| {
        is(owner, &who.name) || who.orgs.as_ref().is_some_and(|orgs| orgs.iter().any(|org| is(owner, &org.name)))
    };
    let owner = owner_of(id.name());
    if role == "write" && !may(owner) && !current_owner(client, id).is_some_and(|owner| may(&owner)) {
        return refused(format!("that of HF_TOKEN is of {}, who is not of {owner}", who.name.escape_debug()));
    }
    if !id.has_revision() {
        return Ok(());
    }
    let no_branch = || HubError::NoBranch { what: id.to_string() };
    match Listing::ask(client, id, RepoType::Model) {
        _ if id.commit().is_some() => Err(no_branch()),
        Err(HubError::NoRevision { .. }) => Err(no_branch()),
        // The repository will be created, with the branch `main` only.
        Err(HubError::NoRepository { .. }) if id.revision() != "main" => Err(no_branch()),
        Err(HubError::NoRepository { .. }) => Ok(()),
        found => found.map(drop),
    }
}
