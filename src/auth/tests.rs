//! Accounts over a real store: what ends when, and what is never told.

use super::token::tests::PEMS;
use super::*;
use crate::store::StoreOptions;
use crate::types::RepoName;
use std::net::IpAddr;
use std::time::Instant;

const SERVICE: &str = "registry.test";

struct World {
    auth: Auth,
    store: Store,
    _dir: tempfile::TempDir,
}

fn options() -> AuthOptions {
    AuthOptions {
        anonymous_pull: true,
        anonymous_push: false,
        signing_keys: vec![PEMS[0].to_owned()],
        token_seconds: 300,
    }
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = Store::open(StoreOptions {
        dir: dir.path().to_owned(),
        cache_bytes: 8 << 20,
        slow: Duration::from_secs(10),
        holder: "auth tests".into(),
        reserve_bytes: 0,
        floor_bytes: 0,
        log_bytes: 64 << 10,
        upgrade_without_copy: false,
    })
    .expect("store");
    let auth = Auth::open(store.clone(), options()).expect("auth");
    World {
        auth,
        store,
        _dir: dir,
    }
}

fn user(text: &str) -> UserName {
    text.parse().expect("user name")
}

fn principal(text: &str) -> Principal {
    Principal::User(Arc::new(user(text)))
}

fn repo(text: &str) -> RepoName {
    text.parse().expect("repository name")
}

fn here() -> IpAddr {
    "192.0.2.1".parse().expect("address")
}

fn role(role: Role, prefix: &str) -> RoleGrant {
    RoleGrant {
        role,
        prefix: prefix.into(),
    }
}

async fn may(auth: &Auth, grant: &Grant, action: Action, name: &str) -> bool {
    let name = repo(name);
    auth.authorize(grant, action, Resource::Repo(&name))
        .await
        .expect("decision")
}

#[tokio::test]
async fn a_login_is_checked_once_and_then_remembered() {
    let World { auth, _dir, .. } = world();
    assert!(auth.is_empty().await.expect("empty"));
    let grants = vec![role(Role::Writer, "team/")];
    auth.add(&user("ann"), "secret", grants).await.expect("add");
    assert!(!auth.is_empty().await.expect("empty"));
    let again = auth.add(&user("ann"), "x", vec![]).await;
    assert_eq!(again.err().map(|e| e.kind()), Some(AuthErrorKind::Exists));

    let grant = auth.login("ann", "secret", here()).await.expect("login");
    assert!(may(&auth, &grant, Action::RepoPush, "team/app").await);
    assert!(!may(&auth, &grant, Action::RepoPush, "teammate/app").await);
    let start = Instant::now();
    for _ in 0..200 {
        auth.login("ann", "secret", here()).await.expect("login");
    }
    let each = start.elapsed() / 200;
    assert!(
        each < Duration::from_millis(5),
        "argon2 ran again: {each:?}"
    );
    for (name, password) in [
        ("ann", "Secret"),
        ("bob", "secret"),
        ("Bad Name", "x"),
        ("ann", ""),
    ] {
        let error = auth.login(name, password, here()).await.err();
        assert!(
            matches!(error, Some(AuthError::BadCredentials)),
            "{name}: {error:?}"
        );
    }
}

#[tokio::test]
async fn changes_count_from_their_answer_on() {
    let World { auth, _dir, .. } = world();
    let ann = user("ann");
    auth.add(&ann, "one", vec![]).await.expect("add");
    let grant = auth.login("ann", "one", here()).await.expect("login");
    assert!(!may(&auth, &grant, Action::RepoPush, "team/app").await);
    auth.grant(&ann, role(Role::Writer, "team"))
        .await
        .expect("grant");
    assert!(may(&auth, &grant, Action::RepoPush, "team/app").await);
    let asked =
        Scope::parse("repository:team/app:pull,push,delete repository:else:push").expect("few");
    let issued = auth
        .issue(&grant.principal, SERVICE, &asked)
        .await
        .expect("issue");
    assert_eq!(
        issued.granted,
        Scope::parse("repository:team/app:pull,push,delete").expect("few")
    );
    let bearer = auth.bearer(&issued.token, SERVICE).await.expect("bearer");
    assert!(may(&auth, &bearer, Action::RepoPush, "team/app").await);
    assert!(!may(&auth, &bearer, Action::RepoPull, "team/other").await);

    auth.revoke(&ann, "team/").await.expect("revoke");
    assert!(!may(&auth, &grant, Action::RepoPush, "team/app").await);
    assert!(!may(&auth, &bearer, Action::RepoPush, "team/app").await);
    assert!(auth.revoke(&ann, "team").await.is_err());

    auth.passwd(&ann, "two").await.expect("passwd");
    assert!(auth.login("ann", "one", here()).await.is_err());
    let ended = auth.bearer(&issued.token, SERVICE).await;
    assert!(ended.is_err(), "a token of the old password counts");
    let issued = auth
        .issue(&grant.principal, SERVICE, &asked)
        .await
        .expect("issue");
    auth.bearer(&issued.token, SERVICE).await.expect("bearer");
    auth.login("ann", "two", here()).await.expect("login");

    auth.remove(&ann).await.expect("remove");
    assert!(auth.login("ann", "two", here()).await.is_err());
    assert!(auth.bearer(&issued.token, SERVICE).await.is_err());
    assert!(!may(&auth, &grant, Action::RepoPull, "team/app").await);
    auth.add(&ann, "two", vec![]).await.expect("add");
    assert!(
        auth.bearer(&issued.token, SERVICE).await.is_err(),
        "another ann"
    );
    assert_eq!(
        auth.remove(&user("bob")).await.err().map(|e| e.kind()),
        Some(AuthErrorKind::NotFound)
    );
}

/// Has a change commit while an account is read, which is put into memory after that.
async fn amid(
    world: &World,
    change: impl AsyncFnOnce(&Auth) + Send + 'static,
    ask: impl AsyncFnOnce(&Auth),
) {
    // Nothing is known of the account.
    world.auth.inner.epochs.end(Subject::Accounts);
    let (auth, runtime) = (world.auth.clone(), tokio::runtime::Handle::current());
    let change = move || runtime.block_on(change(&auth));
    world.store.amid_read(0, change);
    ask(&world.auth).await;
    assert!(!world.store.take_amid(), "nothing was read");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_read_before_a_change_does_not_count_after_it() {
    let world = world();
    let auth = &world.auth;
    let ann = || user("ann");
    let grants = vec![role(Role::Writer, "team")];
    auth.add(&ann(), "one", grants).await.expect("add");
    let grant = auth.login("ann", "one", here()).await.expect("login");
    let asks = async |auth: &Auth| {
        let granted = may(auth, &grant, Action::RepoPush, "team/app").await;
        assert!(granted, "it was read before the change");
    };
    let revoke = async move |auth: &Auth| auth.revoke(&ann(), "team").await.expect("revoke");
    amid(&world, revoke, asks).await;
    assert!(!may(auth, &grant, Action::RepoPush, "team/app").await);
    let writes = role(Role::Writer, "team");
    auth.grant(&ann(), writes).await.expect("grant");

    let passwd = async move |auth: &Auth| auth.passwd(&ann(), "two").await.expect("passwd");
    let logs_in = async |auth: &Auth| drop(auth.login("ann", "one", here()).await);
    amid(&world, passwd, logs_in).await;
    assert!(auth.login("ann", "one", here()).await.is_err());
    auth.login("ann", "two", here()).await.expect("login");

    let remove = async move |auth: &Auth| auth.remove(&ann()).await.expect("remove");
    amid(&world, remove, asks).await;
    assert!(!may(auth, &grant, Action::RepoPush, "team/app").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_was_looked_up_before_a_change_does_not_stand_after_it() {
    let world = world();
    let ann = user("ann");
    let grants = vec![role(Role::Writer, "team")];
    world.auth.add(&ann, "one", grants).await.expect("add");
    let grant = Grant::whole(principal("ann"));
    let mut stands = None;
    let revoke = async move |auth: &Auth| auth.revoke(&ann, "team").await.expect("revoke");
    amid(&world, revoke, async |auth: &Auth| {
        let name = repo("team/app");
        let standing = auth.standing(&grant, Action::RepoPush, &name);
        stands = Some(standing.await.expect("standing"));
    })
    .await;
    let mut standing = stands.expect("it was asked for");
    assert!(!standing.is_current());
    assert_eq!(standing.ask().await.expect("asked"), Some(Lost::Right));
}

#[tokio::test]
async fn refresh_tokens_end_with_the_password() {
    let World { auth, _dir, .. } = world();
    let ann = user("ann");
    auth.add(&ann, "one", vec![]).await.expect("add");
    let token = auth
        .issue_refresh(&principal("ann"), SERVICE)
        .await
        .expect("issue")
        .expect("token");
    assert_eq!(
        auth.refresh(&token, SERVICE).await.expect("refresh"),
        principal("ann")
    );
    assert!(auth.refresh(&token, "other").await.is_err());
    assert!(auth.bearer(&token, SERVICE).await.is_err());
    assert!(
        auth.issue_refresh(&Principal::Anonymous, SERVICE)
            .await
            .expect("none")
            .is_none()
    );
    auth.passwd(&ann, "one").await.expect("passwd");
    assert!(auth.refresh(&token, SERVICE).await.is_err());
}

#[tokio::test]
async fn anonymous_follows_the_switches() {
    let World { auth, _dir, .. } = world();
    let asked = Scope::parse("repository:a:pull,push registry:catalog:* repository:h:5000/a:pull")
        .expect("few");
    let issued = auth
        .issue(&Principal::Anonymous, SERVICE, &asked)
        .await
        .expect("issue");
    assert_eq!(
        issued.granted,
        Scope::parse("repository:a:pull registry:catalog:*").expect("few")
    );
    let bearer = auth.bearer(&issued.token, SERVICE).await.expect("bearer");
    assert_eq!(bearer.principal, Principal::Anonymous);
    assert!(may(&auth, &bearer, Action::RepoPull, "a").await);
    let closed = AuthOptions {
        anonymous_pull: false,
        signing_keys: vec![PEMS[1].to_owned(), PEMS[0].to_owned()],
        ..options()
    };
    auth.reconfigure(closed).expect("reconfigure");
    let bearer = auth
        .bearer(&issued.token, SERVICE)
        .await
        .expect("the old key verifies");
    assert!(!may(&auth, &bearer, Action::RepoPull, "a").await);
    assert!(
        auth.issue(&Principal::Operator, SERVICE, &[])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn guesses_are_slowed_where_they_come_from() {
    let World { auth, _dir, .. } = world();
    auth.add(&user("ann"), "secret", vec![]).await.expect("add");
    auth.login("ann", "secret", here()).await.expect("login");
    for account in ["ann", "nobody"] {
        for _ in 0..5 {
            let error = auth.login(account, "guess", here()).await.err();
            assert!(
                matches!(error, Some(AuthError::BadCredentials)),
                "{error:?}"
            );
        }
        // The right password, though remembered, must not shine through the delay.
        let error = auth.login(account, "secret", here()).await.err();
        assert!(matches!(error, Some(AuthError::Slowed(1))), "{error:?}");
    }
    let elsewhere = "192.0.2.2".parse().expect("address");
    auth.login("ann", "secret", elsewhere)
        .await
        .expect("not slowed there");
}

/// An address where somebody has tried passwords for many names, and which waits for that.
fn sprayed(auth: &Auth, from: IpAddr) {
    for n in 0..60 {
        let name = format!("name{n}");
        auth.inner.delays.failed(&name, from, Instant::now());
    }
}

#[tokio::test]
async fn one_bad_client_does_not_stop_the_others_of_its_address() {
    let World { auth, _dir, .. } = world();
    for name in ["ann", "bob", "eve"] {
        auth.add(&user(name), "secret", vec![]).await.expect("add");
    }
    auth.login("ann", "secret", here()).await.expect("login");
    sprayed(&auth, here());
    // Remembered, and new there; several at once too.
    auth.login("ann", "secret", here())
        .await
        .expect("remembered");
    let both = tokio::join!(
        auth.login("bob", "secret", here()),
        auth.login("bob", "secret", here())
    );
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    // A wrong password has used up the one try, whatever follows.
    for password in ["guess", "secret"] {
        let error = auth.login("eve", password, here()).await.err();
        assert!(matches!(error, Some(AuthError::Slowed(_))), "{error:?}");
    }
    auth.login("bob", "secret", here())
        .await
        .expect("remembered");
    let elsewhere = "192.0.2.2".parse().expect("address");
    auth.login("eve", "secret", elsewhere).await.expect("login");
}

#[tokio::test]
async fn in_the_wait_no_answer_tells_whether_there_is_an_account() {
    let World { auth, _dir, .. } = world();
    auth.add(&user("ann"), "secret", vec![]).await.expect("add");
    let mut seen = Vec::new();
    for (name, from) in [
        ("ann", "192.0.2.1"),
        ("nobody", "192.0.2.2"),
        ("No Name", "192.0.2.3"),
    ] {
        let from: IpAddr = from.parse().expect("address");
        sprayed(&auth, from);
        let mut answers = Vec::new();
        for n in 0..7 {
            let start = Instant::now();
            let error = auth.login(name, &format!("guess{n}"), from).await.err();
            // The first five all take their time, the others none.
            let slow = start.elapsed() >= super::login::SAME_TIME;
            // Seconds pass on the way; all else is the same.
            answers.push((matches!(error, Some(AuthError::Slowed(_))), slow));
        }
        seen.push(answers);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    let slow = seen[0].iter().filter(|(_, slow)| *slow).count();
    assert_eq!(slow, 5, "{:?}", seen[0]);
    assert!(seen[0].iter().all(|(slowed, _)| *slowed));
}

/// How often argon2 has run, when nothing of a wait is under way any more.
async fn settled_runs(auth: &Auth) -> u64 {
    let all = u32::try_from(super::login::FEW).expect("few");
    let end = Instant::now() + Duration::from_mins(1);
    while auth.inner.vain_tries.available_permits() < super::login::FEW {
        assert!(Instant::now() < end, "a try does not end");
        tokio::task::yield_now().await;
    }
    let _quiet = auth.inner.own_tries.acquire_many(all).await.expect("quiet");
    auth.passwords_checked()
}

#[tokio::test]
async fn in_the_wait_the_same_work_is_done_for_whatever_name() {
    let World { auth, _dir, .. } = world();
    for name in ["ann", "bob"] {
        auth.add(&user(name), "secret", vec![]).await.expect("add");
    }
    // Whose own try was before: the names tried in a wait are forgotten sooner.
    auth.inner.delays.take_own("bob", here(), Instant::now());
    let long = "x".repeat(2000);
    for password in ["guess", "", &long] {
        for name in ["ann", "bob", "nobody", "No Name"] {
            let from: IpAddr = match password.len() {
                5 => here(),
                length => IpAddr::from([192, 0, 2, u8::try_from(length % 251).expect("byte")]),
            };
            sprayed(&auth, from);
            let mut seen = Vec::new();
            for _ in 0..3 {
                let before = settled_runs(&auth).await;
                let error = auth.login(name, password, from).await.err();
                assert!(matches!(error, Some(AuthError::Slowed(_))), "{error:?}");
                seen.push(settled_runs(&auth).await - before);
            }
            assert_eq!(seen, [1, 0, 0], "{name} {}", password.len());
        }
    }
}

#[tokio::test]
async fn names_of_nobody_do_not_keep_an_account_waiting_in_the_wait() {
    let World { auth, _dir, .. } = world();
    auth.add(&user("ann"), "secret", vec![]).await.expect("add");
    sprayed(&auth, here());
    let before = settled_runs(&auth).await;
    let turns = auth.inner.own_tries.acquire_many(2).await.expect("turns");
    let mut tries = tokio::task::JoinSet::new();
    for n in 0..100 {
        let auth = auth.clone();
        tries.spawn(async move { auth.login(&format!("nobody{n}"), "x", here()).await.is_ok() });
    }
    while tries.join_next().await.is_some() {}
    let key = auth.decision_key("ann", "secret", here());
    // Its answer comes before its turn; what it finds is remembered.
    assert!(auth.login("ann", "secret", here()).await.is_err());
    drop(turns);
    let end = Instant::now() + Duration::from_mins(1);
    while auth.remembered(&key).await.expect("rows").is_none() {
        assert!(Instant::now() < end, "the account's own try is not made");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let runs = settled_runs(&auth).await - before;
    assert!(runs <= super::login::FEW as u64 + 1, "{runs}");
}

#[tokio::test]
async fn what_a_request_was_let_in_by_is_asked_again_after_a_change() {
    let World { auth, _dir, .. } = world();
    let (ann, bob, app) = (user("ann"), user("bob"), repo("team/app"));
    auth.add(&ann, "secret", vec![role(Role::Writer, "team")])
        .await
        .expect("add");
    let grant = auth.login("ann", "secret", here()).await.expect("login");
    let mut standing = auth
        .standing(&grant, Action::RepoPush, &app)
        .await
        .expect("standing");
    assert!(standing.is_current());
    // Somebody else's change costs a question.
    auth.add(&bob, "secret", vec![]).await.expect("add");
    assert!(!standing.is_current());
    assert_eq!(standing.ask().await.expect("asked"), None);
    assert!(standing.is_current());
    auth.revoke(&ann, "team").await.expect("revoke");
    assert_eq!(standing.ask().await.expect("asked"), Some(Lost::Right));
    auth.grant(&ann, role(Role::Writer, ""))
        .await
        .expect("grant");
    assert_eq!(standing.ask().await.expect("asked"), None);
    auth.passwd(&ann, "other").await.expect("passwd");
    assert_eq!(standing.ask().await.expect("asked"), Some(Lost::Account));
    // Another account of the same name is not the one that began.
    auth.remove(&ann).await.expect("remove");
    auth.add(&ann, "secret", vec![role(Role::Writer, "")])
        .await
        .expect("add");
    assert_eq!(standing.ask().await.expect("asked"), Some(Lost::Account));
    let open = AuthOptions {
        anonymous_push: true,
        ..options()
    };
    auth.reconfigure(open).expect("reconfigure");
    let nobody = Grant::whole(Principal::Anonymous);
    let mut standing = auth
        .standing(&nobody, Action::RepoPush, &app)
        .await
        .expect("standing");
    auth.reconfigure(options()).expect("reconfigure");
    assert_eq!(standing.ask().await.expect("asked"), Some(Lost::Right));
}

#[tokio::test]
async fn users_are_listed_by_name() {
    let World { auth, _dir, .. } = world();
    for name in ["b", "a.b", "a"] {
        auth.add(&user(name), "x", vec![role(Role::Reader, "")])
            .await
            .expect("add");
    }
    let list = auth.list().await.expect("list");
    let names: Vec<&str> = list.iter().map(|u| u.name.as_str()).collect();
    assert_eq!(names, ["a", "a.b", "b"]);
    assert_eq!(list[0].grants, [role(Role::Reader, "")]);
    assert!(auth.add(&user("c"), "", vec![]).await.is_err());
    assert!(
        auth.add(&user("c"), "x", vec![role(Role::Reader, "A B")])
            .await
            .is_err()
    );
}
