//! Folders of file repositories: listings for people and programs, page by page, and the digests of all files in one.

use serde_json::Value;

use crate::formats::file::reading::{put, server};
use crate::harness::content::{noise, sha256};
use crate::harness::{Client, Reply};

const JSON: &[(&str, &str)] = &[("accept", "application/json")];

async fn json(client: &Client, path: &str) -> Value {
    client.send("GET", path, JSON, b"").await.expect(200).json()
}

fn names(page: &Value) -> Vec<String> {
    let entries = page["entries"].as_array().unwrap().iter();
    entries
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Follows `Link` from page to page.
async fn all(client: &Client, path: &str, query: &str) -> (Vec<String>, usize) {
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut query = query.to_owned();
    loop {
        let reply = client
            .send("GET", &format!("{path}{query}"), JSON, b"")
            .await;
        let reply = reply.expect(200);
        let page = reply.json();
        found.extend(names(&page));
        pages += 1;
        assert!(pages < 300, "a list without an end");
        let Some(next) = reply.next() else {
            assert!(page["next"].is_null());
            return (found, pages);
        };
        assert!(page["next"].is_string());
        query = next;
    }
}

#[tokio::test]
async fn a_folder_shows_what_lies_in_it() {
    let server = server().await;
    let admin = server.admin();
    for path in [
        "b/x",
        "b/y/z",
        "a",
        "b-",
        "b0",
        "c/1/2/3/4",
        "\u{e4}%20&%3C",
    ] {
        put(&admin, &format!("/r/files/{path}"), path.as_bytes())
            .await
            .expect(201);
    }
    let page = json(&admin, "/r/files/").await;
    assert_eq!(names(&page), ["a", "b-", "b/", "b0", "c/", "\u{e4} &<"]);
    assert_eq!(page["next"], Value::Null);
    let file = &page["entries"][0];
    assert_eq!(file["size"], 1);
    assert_eq!(file["digest"], sha256(b"a"));
    let modified: jiff::Timestamp = file["modified"].as_str().unwrap().parse().unwrap();
    assert!(
        (jiff::Timestamp::now() - modified)
            .total(jiff::Unit::Second)
            .unwrap()
            < 100.0
    );
    let folder = serde_json::json!({"name": "b/", "size": null, "digest": null, "modified": null});
    assert_eq!(page["entries"][2], folder);
    assert_eq!(names(&json(&admin, "/r/files/b/").await), ["x", "y/"]);
    assert_eq!(names(&json(&admin, "/r/files/c/1/2/3/").await), ["4"]);
    for none in ["/r/files/d/", "/r/files/a/", "/r/files/b/x/", "/r/files//"] {
        admin.get(none).await.expect(404);
    }
    let page = admin.get("/r/files/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
    let text = page.text();
    assert!(text.contains("href=\"./b/\""), "{text}");
    assert!(
        text.contains("href=\"./%C3%A4%20%26%3C\">\u{e4} &amp;&lt;</a>"),
        "{text}"
    );
    assert!(!text.contains("../") && !text.contains("<script"), "{text}");
    let text = admin.get("/r/files/b/").await.expect(200).text();
    assert!(text.contains("href=\"../\""), "{text}");
    let head = admin.head("/r/files/b/").await.expect(200);
    assert_eq!(head.header("content-length"), text.len().to_string());
    // What is deleted is gone, and the folder with its last file.
    admin.delete("/r/files/b/y/z").await.expect(204);
    assert_eq!(names(&json(&admin, "/r/files/b/").await), ["x"]);
    admin.delete("/r/files/b/x").await.expect(204);
    admin.get("/r/files/b/").await.expect(404);
    assert_eq!(
        names(&json(&admin, "/r/files/").await),
        ["a", "b-", "b0", "c/", "\u{e4} &<"]
    );
}

#[tokio::test]
async fn without_its_slash_a_folder_leads_to_itself() {
    let server = server().await;
    let admin = server.admin();
    put(&admin, "/r/files/a:b/c%20d/e", b"1").await.expect(201);
    let goes = |reply: Reply| reply.expect(301).header("location").to_owned();
    assert_eq!(goes(admin.get("/r/files").await), "./files/");
    assert_eq!(goes(admin.head("/r/files").await), "./files/");
    assert_eq!(goes(admin.get("/r/files@g1").await), "./files@g1/");
    assert_eq!(goes(admin.get("/r/files/a:b").await), "./a:b/");
    assert_eq!(goes(admin.get("/r/files/a:b/c%20d").await), "./c%20d/");
    assert_eq!(goes(admin.get("/r/files%2Fa:b").await), "./files%2Fa:b/");
    assert_eq!(goes(admin.get("/r/files/a:b?n=1").await), "./a:b/?n=1");
    admin.get("/r/files/a").await.expect(404);
    // An empty repository is a folder, too.
    crate::formats::file::reading::create(&server, "empty");
    assert_eq!(names(&json(&admin, "/r/empty/").await), [""; 0]);
    admin.get("/r/empty/").await.expect(200);
    let sums = admin.get("/r/empty/SHA256SUMS").await.expect(200);
    assert_eq!(sums.text(), "");
}

#[tokio::test]
async fn folders_come_in_pages() {
    let server = server().await;
    let admin = server.admin();
    let mut want = Vec::new();
    let mut puts = tokio::task::JoinSet::new();
    for n in 0..1203 {
        let name = match n % 3 {
            0 => format!("d{n:05}/x"),
            _ => format!("f{n:05}"),
        };
        want.push(name.strip_suffix('x').unwrap_or(&name).to_owned());
        let admin = admin.clone();
        puts.spawn(async move {
            let path = format!("/r/files/many/{name}");
            put(&admin, &path, name.as_bytes()).await.expect(201);
        });
        if puts.len() >= 32 {
            puts.join_next().await.unwrap().unwrap();
        }
    }
    puts.join_all().await;
    want.sort();
    let (found, pages) = all(&admin, "/r/files/many/", "").await;
    assert_eq!((found == want, pages), (true, 2));
    let (found, pages) = all(&admin, "/r/files/many/", "?n=100").await;
    assert_eq!((found == want, pages), (true, 13));
    let (found, _) = all(&admin, "/r/files@g1203/many/", "?n=250").await;
    assert!(found == want);
    let after = json(&admin, "/r/files/many/?n=2&last=d00300/").await;
    assert_eq!(names(&after), ["d00303/", "d00306/"]);
    let between = json(&admin, "/r/files/many/?n=1&last=d00301").await;
    assert_eq!(names(&between), ["d00303/"]);
    for wrong in ["?n=0", "?n=-1", "?n=x"] {
        admin
            .get(&format!("/r/files/many/{wrong}"))
            .await
            .expect(400);
    }
    // The same by the links of the pages for people.
    let (mut found, mut query) = (Vec::new(), "?n=500".to_owned());
    loop {
        let page = admin
            .get(&format!("/r/files/many/{query}"))
            .await
            .expect(200);
        let text = page.text();
        let links = text.split("href=\"").skip(1);
        let links: Vec<_> = links.map(|l| l.split('"').next().unwrap()).collect();
        let entries = links.iter().filter_map(|l| l.strip_prefix("./"));
        found.extend(entries.map(str::to_owned));
        match links.iter().find(|l| l.starts_with('?')) {
            Some(next) => query = next.replace("&amp;", "&").replace("%2F", "/"),
            None => break,
        }
    }
    assert!(found == want);
    let sums = admin
        .get("/r/files/many/SHA256SUMS")
        .await
        .expect(200)
        .text();
    let lines: Vec<_> = want
        .iter()
        .filter(|name| !name.ends_with('/'))
        .map(|name| format!("{}  {name}\n", &sha256(name.as_bytes())[7..]))
        .collect();
    assert!(sums == lines.concat());
}

#[tokio::test]
async fn a_page_of_the_longest_names_is_bounded() {
    let server = server().await;
    let admin = server.admin();
    let mut puts = tokio::task::JoinSet::new();
    for n in 0..700 {
        let admin = admin.clone();
        puts.spawn(async move {
            let path = format!("/r/files/{}{n:04}", "%26".repeat(1000));
            put(&admin, &path, b"x").await.expect(201);
        });
        if puts.len() >= 32 {
            puts.join_next().await.unwrap().unwrap();
        }
    }
    puts.join_all().await;
    let page = admin.get("/r/files/?n=1000").await.expect(200);
    assert!(page.body.len() <= 4 << 20, "{}", page.body.len());
    let next = page.next().expect("another page");
    let more = admin.get(&format!("/r/files/{next}")).await.expect(200);
    let count = |reply: &Reply| reply.text().matches("href=\"./").count();
    assert_eq!(count(&page) + count(&more), 700);
    let whole = admin.get("/r/files/").await.expect(200);
    assert_eq!((count(&whole), whole.next()), (700, None));
}

#[tokio::test]
async fn a_folder_for_people_is_whole_however_long() {
    let server = server().await;
    let admin = server.admin();
    let want: Vec<String> = (0..2500).map(|n| format!("f{n:05}")).collect();
    let mut puts = tokio::task::JoinSet::new();
    for name in want.clone() {
        let admin = admin.clone();
        puts.spawn(async move {
            let path = format!("/r/files/many/{name}");
            put(&admin, &path, b"x").await.expect(201);
        });
        if puts.len() >= 32 {
            puts.join_next().await.unwrap().unwrap();
        }
    }
    puts.join_all().await;
    let links = |reply: &Reply| {
        let text = reply.text();
        assert!(text.ends_with("</html>\n") && text.matches("<html").count() == 1);
        let links = text.split("href=\"").skip(1);
        let links = links.map(|link| link.split('"').next().unwrap().to_owned());
        links.collect::<Vec<_>>()
    };
    let all: Vec<_> = want.iter().map(|name| format!("./{name}")).collect();
    let all = [&["../".to_owned()], &all[..]].concat();
    for folder in ["/r/files/many/", "/r/files@g2500/many/"] {
        let whole = admin.get(folder).await.expect(200);
        assert!(links(&whole) == all, "{folder}");
        assert_eq!(whole.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(whole.next(), None);
        let head = admin.head(folder).await.expect(200);
        assert!(head.headers.get("content-length").is_none(), "not known");
    }
    // What is deleted while it is sent is in it or not; everything else is.
    let reader = tokio::spawn({
        let admin = admin.clone();
        async move { admin.get("/r/files/many/").await.expect(200) }
    });
    for name in want.iter().skip(1).step_by(50) {
        admin
            .delete(&format!("/r/files/many/{name}"))
            .await
            .expect(204);
    }
    let seen = links(&reader.await.unwrap());
    assert!(seen.is_sorted());
    let stays = |n: &usize| n % 50 != 1;
    for n in (0..2500).filter(stays) {
        assert!(seen.binary_search(&all[n + 1]).is_ok(), "{}", all[n + 1]);
    }
    let page = json(&admin, "/r/files/many/").await;
    assert_eq!(names(&page).len(), 1000);
    assert!(page["next"].is_string());
}

#[tokio::test]
async fn the_digests_of_a_folder_are_made_where_no_such_file_is() {
    let server = server().await;
    let admin = server.admin();
    let bytes = noise(1, 70_000);
    put(&admin, "/r/files/x/a b", &bytes).await.expect(201);
    put(&admin, "/r/files/x/y/z", b"below").await.expect(201);
    put(&admin, "/r/files/x/c", b"c").await.expect(201);
    let hex = |bytes: &[u8]| sha256(bytes)[7..].to_owned();
    let reply = admin.get("/r/files/x/SHA256SUMS").await.expect(200);
    assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
    let want = format!("{}  a b\n{}  c\n", hex(&bytes), hex(b"c"));
    assert_eq!(reply.text(), want);
    admin.head("/r/files/x/SHA256SUMS").await.expect(200);
    admin.get("/r/files/none/SHA256SUMS").await.expect(404);
    admin.get("/r/files/x/XSHA256SUMS").await.expect(404);
    put(&admin, "/r/files/x/SHA256SUMS", b"mine")
        .await
        .expect(201);
    assert_eq!(admin.get("/r/files/x/SHA256SUMS").await.text(), "mine");
    let before = admin.get("/r/files@g3/x/SHA256SUMS").await.expect(200);
    assert_eq!(before.text(), want);
}
