use super::*;

fn ip(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

#[test]
fn an_address_loses_its_idle_ones_first() {
    let all = Connections::new(16);
    let mut mine: Vec<ConnectionEntry> = (0..2).filter_map(|_| all.enter(ip(1), 2)).collect();
    let busy = Use::begin(&mine[1].link);
    let other = all.enter(ip(2), 2);
    // The idle one goes for the third.
    mine.extend(all.enter(ip(1), 2));
    assert_eq!((mine.len(), all.count()), (3, 3));
    let more = Use::begin(&mine[2].link);
    assert!(all.enter(ip(1), 2).is_none());
    assert!(other.is_some() && all.enter(ip(2), 2).is_some());
    drop((busy, more, mine, other));
    assert_eq!(all.count(), 0);
    assert!(all.lock().nets.is_empty());
}

#[tokio::test]
async fn when_all_are_used_the_longest_idle_goes() {
    let all = Connections::new(2);
    let first = all.enter(ip(1), 9).expect("entered");
    let second = all.enter(ip(2), 9).expect("entered");
    first.link.touch();
    let _busy = Use::begin(&second.link);
    let third = all.enter(ip(3), 9).expect("entered");
    let _new = Use::begin(&third.link);
    all.room(&third.link).await;
    assert_eq!(all.count(), 2);
    first.link.told_to_go().await;
    // Nobody is idle now: the next one waits.
    let fourth = all.enter(ip(4), 9).expect("entered");
    let _last = Use::begin(&fourth.link);
    let waited = tokio::time::timeout(Duration::from_millis(300), all.room(&fourth.link)).await;
    assert!(waited.is_err());
    drop(third);
    all.room(&fourth.link).await;
}

/// Asks again and again.
async fn asking(entries: &[ConnectionEntry]) {
    loop {
        for entry in entries {
            drop(Use::begin(&entry.link));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn who_asks_often_stays_before_those_that_never_ask() {
    let all = Connections::new(2);
    let client = [all.enter(ip(1), 9).expect("entered")];
    let silent = all.enter(ip(2), 9).expect("entered");
    let new = all.enter(ip(3), 9).expect("entered");
    tokio::select! {
        () = all.room(&new.link) => {}
        () = client[0].link.told_to_go() => panic!("the client was sent away"),
        () = asking(&client) => {}
    }
    silent.link.told_to_go().await;
    // It is let in late, and has its second from then on.
    assert!(new.link.is_fresh());
}

#[tokio::test]
async fn nobody_keeps_a_place_by_asking_often() {
    let all = Connections::new(2);
    let clients: Vec<ConnectionEntry> = (0..2).filter_map(|n| all.enter(ip(n), 9)).collect();
    let new = all.enter(ip(9), 9).expect("entered");
    let begin = Instant::now();
    tokio::select! {
        () = all.room(&new.link) => {}
        () = asking(&clients) => {}
    }
    assert!(begin.elapsed() >= GRACE);
    assert_eq!(all.count(), 2);
}

#[tokio::test]
async fn who_comes_while_all_are_at_work_waits_and_is_not_sent_away() {
    let all = Connections::new(2);
    let busy: Vec<ConnectionEntry> = (0..2).filter_map(|n| all.enter(ip(n), 9)).collect();
    let work: Vec<Use> = busy.iter().map(|e| Use::begin(&e.link)).collect();
    let new = all.enter(ip(9), 9).expect("entered");
    let wait = Duration::from_millis(1500);
    tokio::select! {
        () = all.room(&new.link) => panic!("there was no room"),
        () = new.link.told_to_go() => panic!("the new one was sent away"),
        () = tokio::time::sleep(wait) => {}
    }
    drop((work, busy));
    all.room(&new.link).await;
    assert_eq!(all.count(), 1);
}

#[test]
fn nobody_may_have_all() {
    assert_eq!(Connections::new(100).share(4000), 75);
    assert_eq!(Connections::new(16_384).share(4000), 4000);
    assert_eq!(Connections::new(1).share(4000), 1);
}
