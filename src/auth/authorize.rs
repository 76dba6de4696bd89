//! The rules: which role may do what where, what anybody may do, what a token's scope leaves of it.
//!
//! Pure decisions over values; the one entrance for callers is [`Auth::authorize`].

use super::{Action, Auth, AuthError, Grant, Principal, Resource, Role, RoleGrant, Scope};

/// What the configuration lets everybody do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switches {
    pub(super) anonymous_pull: bool,
    pub(super) anonymous_push: bool,
}

impl Auth {
    /// The only yes or no: what the principal may do, cut down to its token's scope. Reads the store only when the
    /// principal's account is not in memory.
    pub async fn authorize(
        &self,
        grant: &Grant,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<bool, AuthError> {
        if let Some(scopes) = &grant.scope
            && !scope_holds(scopes, action, resource)
        {
            return Ok(false);
        }
        self.authorize_user(&grant.principal, action, resource)
            .await
    }

    /// What the user behind may do, whatever a token's scope says: the look-up of a mount source, the filter of the
    /// catalog.
    pub async fn authorize_user(
        &self,
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<bool, AuthError> {
        let switches = self.state().switches;
        if anybody_may(switches, action, resource) && *principal == Principal::Anonymous {
            return Ok(true);
        }
        match principal {
            Principal::Operator => Ok(true),
            Principal::Anonymous => Ok(false),
            // A removed user keeps nothing but what needs no account at all.
            Principal::User(name) => Ok(match self.account(name).await? {
                Some(account) => user_may(&account.grants, switches, action, resource),
                None => anybody_may(switches, action, resource) && open_to_all(action),
            }),
        }
    }
}

/// Actions that need no right.
fn open_to_all(action: Action) -> bool {
    matches!(
        action,
        Action::Ping | Action::Token | Action::Health | Action::Catalog
    )
}

/// What may be done without an account.
pub(super) fn anybody_may(switches: Switches, action: Action, resource: Resource<'_>) -> bool {
    match action {
        Action::RepoPull | Action::RepoList => {
            switches.anonymous_pull && resource != Resource::Server
        }
        Action::RepoPush | Action::TagWrite => {
            switches.anonymous_push && resource != Resource::Server
        }
        // Its list is cut to what may be seen, but a closed box does not answer strangers at all.
        Action::Catalog => switches.anonymous_pull,
        other => open_to_all(other),
    }
}

/// What a user with these roles may do: never less than anybody.
pub(super) fn user_may(
    grants: &[RoleGrant],
    switches: Switches,
    action: Action,
    resource: Resource<'_>,
) -> bool {
    anybody_may(switches, action, resource)
        || open_to_all(action)
        || grants.iter().any(|grant| role_may(grant, action, resource))
}

fn role_may(grant: &RoleGrant, action: Action, resource: Resource<'_>) -> bool {
    let least = match action {
        Action::Ping | Action::Token | Action::Health | Action::Catalog => return true,
        Action::RepoPull | Action::RepoList => Role::Reader,
        Action::RepoPush | Action::TagWrite | Action::RepoDelete => Role::Writer,
        Action::RepoAdmin => Role::Admin,
        // These concern the whole server, whatever they are asked on.
        Action::UserAdmin | Action::ServerAdmin | Action::AuditRead | Action::Metrics => {
            return grant.role == Role::Admin && grant.prefix.is_empty();
        }
    };
    match resource {
        Resource::Repo(name) => grant.role >= least && name.present().is_under(&grant.prefix),
        Resource::Past { now, .. } => grant.role >= least && now.is_under(&grant.prefix),
        Resource::Below(prefix) => grant.role >= least && is_below(prefix, &grant.prefix),
        Resource::Server => grant.role == Role::Admin && grant.prefix.is_empty(),
    }
}

/// Whether everything below a prefix is below the prefix of a role.
fn is_below(prefix: &str, of_role: &str) -> bool {
    let of_role = of_role.trim_end_matches('/');
    let rest = prefix.strip_prefix(of_role);
    of_role.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a token's scopes leave room for the action.
pub(super) fn scope_holds(scopes: &[Scope], action: Action, resource: Resource<'_>) -> bool {
    let on_repo = |word: &str| match resource {
        Resource::Repo(name) | Resource::Past { asked: name, .. } => scopes
            .iter()
            .any(|s| s.kind == "repository" && s.name == name.as_str() && s.holds(word)),
        Resource::Server | Resource::Below(_) => false,
    };
    match action {
        Action::Ping | Action::Token | Action::Health => true,
        Action::RepoPull | Action::RepoList => on_repo("pull"),
        Action::RepoPush | Action::TagWrite => on_repo("push"),
        Action::RepoDelete => on_repo("delete"),
        Action::Catalog => scopes
            .iter()
            .any(|s| s.kind == "registry" && s.name == "catalog" && s.holds("*")),
        // Docker's grammar has no word for these: a registry token never administers.
        Action::RepoAdmin
        | Action::UserAdmin
        | Action::ServerAdmin
        | Action::AuditRead
        | Action::Metrics => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::RepoName;

    const CLOSED: Switches = Switches {
        anonymous_pull: false,
        anonymous_push: false,
    };
    const OPEN_PULL: Switches = Switches {
        anonymous_pull: true,
        anonymous_push: false,
    };
    const OPEN: Switches = Switches {
        anonymous_pull: true,
        anonymous_push: true,
    };

    fn on(role: Role, prefix: &str) -> Vec<RoleGrant> {
        vec![RoleGrant {
            role,
            prefix: prefix.to_owned(),
        }]
    }

    /// One letter an action, in the order of `Action::ALL`; a dot is a no.
    fn row(grants: &[RoleGrant], switches: Switches, resource: Resource<'_>) -> String {
        let letters = "pTRLPWDCAUSVMH";
        Action::ALL
            .into_iter()
            .zip(letters.chars())
            .map(|(action, letter)| {
                if user_may(grants, switches, action, resource) {
                    letter
                } else {
                    '.'
                }
            })
            .collect()
    }

    #[test]
    fn roles_by_actions() {
        let app: RepoName = "team/app".parse().expect("name");
        let mate: RepoName = "teammate/app".parse().expect("name");
        let (repo, other, server) = (
            Resource::Repo(&app),
            Resource::Repo(&mate),
            Resource::Server,
        );
        let none = "pT.....C.....H";
        for (grants, switches, resource, want) in [
            (vec![], CLOSED, repo, none),
            (vec![], CLOSED, server, none),
            (vec![], OPEN_PULL, repo, "pTRL...C.....H"),
            (vec![], OPEN, repo, "pTRLPW.C.....H"),
            (vec![], OPEN, server, none),
            (on(Role::Reader, "team"), CLOSED, repo, "pTRL...C.....H"),
            (on(Role::Reader, "team"), CLOSED, other, none),
            (on(Role::Reader, "team"), OPEN, repo, "pTRLPW.C.....H"),
            (on(Role::Reader, "team"), CLOSED, server, none),
            (on(Role::Writer, "team"), CLOSED, repo, "pTRLPWDC.....H"),
            (on(Role::Writer, "team/"), CLOSED, repo, "pTRLPWDC.....H"),
            (on(Role::Writer, "team/app"), CLOSED, repo, "pTRLPWDC.....H"),
            (on(Role::Writer, "team/app/x"), CLOSED, repo, none),
            (on(Role::Writer, "team"), CLOSED, other, none),
            (on(Role::Writer, ""), CLOSED, other, "pTRLPWDC.....H"),
            (on(Role::Writer, ""), CLOSED, server, none),
            (on(Role::Admin, "team"), CLOSED, repo, "pTRLPWDCA....H"),
            (on(Role::Admin, "team"), CLOSED, other, none),
            (on(Role::Admin, "team"), CLOSED, server, none),
            (on(Role::Admin, ""), CLOSED, repo, "pTRLPWDCAUSVMH"),
            (on(Role::Admin, ""), CLOSED, server, "pTRLPWDCAUSVMH"),
        ] {
            assert_eq!(
                row(&grants, switches, resource),
                want,
                "{grants:?} {switches:?} {resource:?}"
            );
        }
    }

    #[test]
    fn a_role_on_a_prefix_holds_for_what_is_below_it() {
        let may = |role: &str, prefix: &str| {
            user_may(
                &on(Role::Admin, role),
                CLOSED,
                Action::RepoAdmin,
                Resource::Below(prefix),
            )
        };
        assert!(may("", "") && may("", "team") && may("team", "team") && may("team", "team/sub"));
        assert!(may("team/", "team"));
        assert!(!may("team", "") && !may("team", "teammate") && !may("team/sub", "team"));
    }

    #[test]
    fn a_closed_box_shows_strangers_no_catalog() {
        let may = |switches| anybody_may(switches, Action::Catalog, Resource::Server);
        assert!(may(OPEN_PULL) && !may(CLOSED));
    }

    #[test]
    fn scopes_by_actions() {
        let app: RepoName = "team/app".parse().expect("name");
        let other: RepoName = "team/other".parse().expect("name");
        for (scope, want) in [
            ("", "pT...........H"),
            ("repository:team/app:pull", "pTRL.........H"),
            ("repository:team/app:push", "pT..PW.......H"),
            ("repository:team/app:delete", "pT....D......H"),
            ("repository:team/app:pull,push", "pTRLPW.......H"),
            ("repository:team/app:*", "pTRLPWD......H"),
            ("registry:catalog:*", "pT.....C.....H"),
            ("repository:catalog:*", "pT...........H"),
        ] {
            let scopes = Scope::parse(scope).expect("few");
            let row: String = Action::ALL
                .into_iter()
                .zip("pTRLPWDCAUSVMH".chars())
                .map(|(a, l)| {
                    if scope_holds(&scopes, a, Resource::Repo(&app)) {
                        l
                    } else {
                        '.'
                    }
                })
                .collect();
            assert_eq!(row, want, "{scope}");
            assert!(
                !scope_holds(&scopes, Action::RepoPull, Resource::Repo(&other)),
                "{scope}"
            );
        }
    }
}
