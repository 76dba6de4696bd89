//! The authorization matrix of the operations: each of them, by REST, on own, other and absent repositories, by everybody who
//! asks. What is allowed and changes something is not asked; who may do it is seen elsewhere.

use dryport::app::ops::{self, Reach, Spec, Verb};
use serde_json::Value;

use crate::http::api::{input, method, query};
use crate::http::authz::law::{Right, Spot, User, may};
use crate::http::authz::matrix::Judge;
use crate::http::authz::wire::{Ask, shape};

/// What an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// An account; what is listed is cut to what it may see.
    Account,
    /// A right on the repository that the input names.
    Repo(Right),
    /// The role admin on everything.
    Admin,
    /// To be the operator.
    Operator,
}

fn need(spec: &Spec) -> Need {
    if spec.reach == Reach::Control {
        return Need::Operator;
    }
    match (spec.name, spec.action.name()) {
        ("repo-list", _) => Need::Account,
        (_, "repo.pull" | "repo.list") => Need::Repo(Right::Pull),
        (_, "repo.push" | "tag.write") => Need::Repo(Right::Push),
        (_, "repo.delete") => Need::Repo(Right::Delete),
        _ => Need::Admin,
    }
}

/// The request for an operation on a repository.
fn ask(spec: &Spec, spot: Spot) -> Ask {
    let mut input = input(spec.name);
    for field in ["repo", "name", "of"] {
        let is_no_repository = ["user-", "upstream-"]
            .iter()
            .any(|noun| spec.name.starts_with(noun));
        if let Some(value) = input.get_mut(field).filter(|_| !is_no_repository) {
            *value = Value::from(spot.name());
        }
    }
    let path = format!("/api/v1{}", spec.path);
    let method = method(spec.verb);
    match spec.verb {
        Verb::Read | Verb::Remove => Ask::new(method, format!("{path}?{}", query(&input))),
        Verb::Make | Verb::Set => {
            Ask::new(method, path).body("application/json", input.to_string().as_bytes())
        }
    }
}

impl Judge<'_> {
    /// Every operation on one repository; answers how each refusal looked.
    async fn operations_on(&mut self, spot: Spot) -> Vec<(&'static str, String)> {
        let mut refusals = Vec::new();
        for spec in ops::ALL.iter().map(ops::Declared::spec) {
            let user = self.who.user;
            // Tokens of the registry protocol open nothing here.
            let login = matches!(user, User::Refused | User::Nobody) || self.who.scope.is_some();
            let allowed = match need(&spec) {
                Need::Account => true,
                Need::Repo(right) => may(self.world.mode, user, right, spot.name()),
                Need::Admin => user == User::Admin,
                Need::Operator => false,
            };
            if allowed && !login && spec.verb != Verb::Read {
                continue;
            }
            let ask = ask(&spec, spot);
            let reply = self.ask(&ask).await;
            let what = format!("{} on {spot:?}", spec.name);
            let asked = format!("{} {}", ask.path, String::from_utf8_lossy(&ask.body));
            self.no_secrets(&what, &asked, &reply);
            let wanted: &[u16] = match (login, allowed) {
                (true, _) => &[401],
                (_, false) => &[403],
                (_, true) => &[200, 404, 409],
            };
            if !wanted.contains(&reply.status) {
                self.fail(&what, &format!("must be one of {wanted:?}"), &reply);
            }
            let basic = reply.header("www-authenticate").starts_with("Basic ");
            if basic != (reply.status == 401) {
                self.fail(
                    &what,
                    "a challenge belongs to 401, and to nothing else",
                    &reply,
                );
            }
            if login || !allowed {
                refusals.push((spec.name, shape(&reply, &[spot.name()])));
            }
        }
        refusals
    }

    /// The operations on each repository: a refusal must not tell whether that is there.
    pub async fn operations(&mut self) {
        for (here, absent) in [(Spot::A, Spot::NotA), (Spot::B, Spot::NotB)] {
            if !self.thorough() && here == Spot::A {
                continue;
            }
            let (there, none) = (
                self.operations_on(here).await,
                self.operations_on(absent).await,
            );
            for ((name, there), (_, none)) in there.iter().zip(&none) {
                if there != none {
                    self.failures.push(format!(
                        "{:?}, {}: {name} is refused in another way where {here:?} is there:\n{there}\n-- and --\n{none}",
                        self.world.mode, self.who.name
                    ));
                }
            }
        }
    }
}
