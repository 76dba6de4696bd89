//! The law that the authorization matrix is judged by: who has which role where, what a token covers, and what
//! follows from both. No request is made here, and nothing is said cell by cell.
//!
//! | who asks                                    | may, and the token covers it | may, token does not | may not, but may read | may not read |
//! |---------------------------------------------|------------------------------|---------------------|-----------------------|--------------|
//! | wrong, expired, foreign, forged, removed    | 401                          | 401                 | 401                   | 401          |
//! | nobody in particular                        | the route's own answer       | 401                 | 401                   | 401          |
//! | a user, also one whose rights were revoked  | the route's own answer       | 401                 | 403 DENIED            | 404 NAME_UNKNOWN |

/// Before a name: the repository as it was at the end of that day.
pub const PAST: &str = "at/20991231/";

/// Both presets; they differ in what anonymous may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Anonymous pull on.
    Mirror,
    /// Accounts required.
    Standalone,
}

/// Whom the credentials stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum User {
    /// Credentials that do not count: 401 everywhere.
    Refused,
    Nobody,
    Rita,
    Will,
    Admin,
    /// Had every right and lost it.
    Rex,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Role {
    Reader,
    Writer,
    Admin,
}

const ROLES: &[(User, Role, &str)] = &[
    (User::Rita, Role::Reader, "team/"),
    (User::Will, Role::Writer, "team/"),
    (User::Admin, Role::Admin, ""),
];

/// The repositories of the matrix. B's name begins with the letters of the prefix that rita and will have, and each
/// existing one has a twin that does not exist, with a name of the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spot {
    A,
    B,
    NotA,
    NotB,
}

impl Spot {
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::NotA, Self::NotB];

    pub fn name(self) -> &'static str {
        match self {
            Self::A => "team/qkept",
            Self::B => "teammate/qkept",
            Self::NotA => "team/qnone",
            Self::NotB => "teammate/qnone",
        }
    }

    /// The name as `?ns=HOST` and NAME.
    pub fn split(self) -> (&'static str, &'static str) {
        self.name().split_once('/').unwrap()
    }

    /// The name that means the repository as it was, at a time that is still to come: as it is now.
    pub fn past(self) -> String {
        format!("{PAST}{}", self.name())
    }

    pub fn exists(self) -> bool {
        matches!(self, Self::A | Self::B)
    }

    /// The repository whose content is strange to this one.
    pub fn other(self) -> Self {
        match self {
            Self::A | Self::NotA => Self::B,
            Self::B | Self::NotB => Self::A,
        }
    }
}

/// What a route needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Pull,
    Push,
    Delete,
}

impl Right {
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// The word of docker's scope grammar.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// One who asks.
pub struct Who {
    pub name: &'static str,
    pub user: User,
    /// The Authorization header; several: one after the other, each request from an address of its own.
    pub auth: Vec<String>,
    /// What the token is for: pairs of a name and a word; `None`: no token, or none that limits.
    pub scope: Option<Vec<(String, String)>>,
}

/// What follows from the law for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The route answers.
    Go,
    /// 401 with a challenge.
    Login,
    /// 403: may read, may not change.
    Denied,
    /// 404, as for a repository that does not exist.
    Hidden,
}

/// What the user may do, whatever the token says.
pub fn may(mode: Mode, user: User, right: Right, name: &str) -> bool {
    let least = match right {
        Right::Pull => Role::Reader,
        Right::Push | Right::Delete => Role::Writer,
    };
    if user == User::Refused {
        return false;
    }
    // Who may read a repository may read its past.
    let name = name.strip_prefix(PAST).unwrap_or(name);
    (mode == Mode::Mirror && right == Right::Pull)
        || ROLES
            .iter()
            .any(|(who, role, prefix)| *who == user && *role >= least && name.starts_with(prefix))
}

/// Whether this user may have the list of repositories at all.
pub fn may_catalog(mode: Mode, user: User) -> bool {
    match user {
        User::Refused => false,
        User::Nobody => mode == Mode::Mirror,
        _ => true,
    }
}

impl Who {
    pub fn covers(&self, word: &str, name: &str) -> bool {
        let asked = |(n, w): &(String, String)| n == name && w == word;
        self.scope.as_ref().is_none_or(|s| s.iter().any(asked))
    }

    /// Reads the repository with these very credentials.
    pub fn sees(&self, mode: Mode, name: &str) -> bool {
        may(mode, self.user, Right::Pull, name)
    }

    /// The law.
    pub fn verdict(&self, mode: Mode, right: Right, name: &str) -> Verdict {
        let allowed = may(mode, self.user, right, name);
        if self.user == User::Refused {
            Verdict::Login
        } else if allowed && self.covers(right.word(), name) {
            Verdict::Go
        } else if allowed || self.user == User::Nobody {
            Verdict::Login
        } else if may(mode, self.user, Right::Pull, name) {
            Verdict::Denied
        } else {
            Verdict::Hidden
        }
    }

    /// The law for `/v2/NAME?ns=HOST`: whether HOST/NAME is meant, and what follows.
    pub fn verdict_ns(&self, mode: Mode, spot: Spot) -> (bool, Verdict) {
        if spot.exists() && self.sees(mode, spot.name()) {
            (true, self.verdict(mode, Right::Pull, spot.name()))
        } else {
            (false, self.verdict(mode, Right::Pull, spot.split().1))
        }
    }
}

/// What the token service grants of everything that is asked on the four repositories and the catalog.
pub fn granted(mode: Mode, user: User) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for spot in Spot::ALL {
        for name in [spot.name().to_owned(), spot.past()] {
            for right in Right::ALL {
                if may(mode, user, right, &name) {
                    all.push((name.clone(), right.word().to_owned()));
                }
            }
        }
    }
    if may_catalog(mode, user) {
        all.push(("catalog".to_owned(), "*".to_owned()));
    }
    all
}

/// Every scope of the matrix, as it is asked of the token service.
pub fn everything() -> String {
    let mut scopes: Vec<String> = Spot::ALL
        .iter()
        .flat_map(|s| [s.name().to_owned(), s.past()])
        .map(|name| format!("repository:{name}:pull,push,delete"))
        .collect();
    scopes.push("registry:catalog:*".to_owned());
    scopes.join(" ")
}
