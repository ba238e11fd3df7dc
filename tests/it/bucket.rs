//! A registry in a bucket, through the verbs of the loaded library and by the client of the library, against a real S3 server:
//! nodes export into it and install from it, one copy is cut short, objects are damaged, and stores refuse.

mod server;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use catalog::digest::{Digest, Digests};
use catalog::remote::{
    Address, Bucket, BucketOptions, CredentialsFile, Documents, FORMAT_VERSION, Fetched, HealthDocument, NamesDocument,
    OfferedRelease, PackageDocument, Patience, Push, RemoteError, Side, Sink,
};
use hypermesh_abi::{Code, Error};
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use walkdir::WalkDir;

use self::server::{ACCESS_KEY, BUCKET, Refusal, SECRET_KEY, Server, credentials, says};
use super::remote::{Node, named};
use super::support::block_on;

const URL: &str = "s3://packages/registry";

/// Gives the settings of a node that asks the server, and has its registry as the remote one if it is to.
fn settings(server: &Server, directory: &Path, is_remote: bool) -> Json {
    let file = directory.join("bucket-credentials");
    credentials(&file, ACCESS_KEY, SECRET_KEY);
    let remote = is_remote.then(|| json!({"url": URL, "sync_seconds": 0}));
    json!({"vm": true, "remote": remote, "s3": {"endpoint": server.endpoint(), "credentials_file": file}})
}

async fn author(server: &Server) -> Node {
    let node = Node::publisher("acme").await;
    let settings = settings(server, node.home.path(), false);
    node.again_with(&settings).await
}

async fn reader(server: &Server) -> Node {
    let node = Node::reader(Json::Null).await;
    let settings = settings(server, node.home.path(), true);
    node.again_with(&settings).await
}

async fn export(node: &Node) -> Json {
    node.ask("registry export", json!({"directory": URL})).await
}

/// Gives the objects below a part of the registry.
fn objects(server: &Server, below: &str) -> Vec<PathBuf> {
    let entries = WalkDir::new(server.file("registry").join(below)).sort_by_file_name().into_iter().flatten();
    entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

fn written(requests: &[String]) -> Vec<&str> {
    requests.iter().map(String::as_str).filter(|it| it.starts_with("PUT") || it.starts_with("DELETE")).collect()
}

#[test]
fn nodes_install_from_a_bucket_what_another_has_put_there() {
    block_on(async {
        let server = Server::start();
        let author = author(&server).await;
        let exported = export(&author).await;
        assert_eq!((&exported["packages"], &exported["versions"]), (&json!(3), &json!(3)));
        server.requests();
        let again = export(&author).await;
        assert_eq!((&again["written"], written(&server.requests()).len()), (&json!(0), 0), "nothing has changed");

        let node = reader(&server).await;
        let status = node.ask("registry status", json!({})).await;
        assert_eq!((&status["packages"], &status["versions"], &status["known"]), (&json!(3), &json!(3), &json!(0)));
        server.requests();
        node.install("app").await.expect("installs");
        let asked = server.requests();
        let heads = |name: &str| format!("LIST registry/api/v1/assets/{name}/heads/");
        assert!(["app", "middle", "core"].iter().all(|name| asked.contains(&heads(name))), "{asked:?}");
        assert_eq!(node.installed().await, ["app@1.0.0", "core@1.0.0", "middle@1.0.0"]);
        assert_eq!(node.ask("run", json!({"package": "app"})).await["value"], 42);

        server.requests();
        node.ask("resolve", json!({"packages": ["app"]})).await;
        let asked = server.requests();
        assert!(!asked.is_empty() && asked.iter().all(|it| it.starts_with("LIST")), "nothing is sent again: {asked:?}");
        author.release("core", "1.1.0", "acme").await.expect("publishes");
        export(&author).await;
        let asked = server.requests();
        let objects = written(&asked);
        let count =
            |part: &str, verb: &str| objects.iter().filter(|it| it.contains(part) && it.starts_with(verb)).count();
        assert_eq!((count("blobs", "PUT"), count("core/releases", "PUT"), count("core/heads", "PUT")), (1, 1, 1));
        assert_eq!((count("feeds", "PUT"), count("DELETE", "")), (1, 2), "heads go, and nothing else: {objects:?}");
        assert_eq!(objects.len(), 6, "{objects:?}");
        let resolved = node.ask("resolve", json!({"packages": ["core"]})).await;
        assert!(resolved["packages"].to_string().contains("1.1.0"), "{resolved}");

        // What was fetched is on this node, and what is fetched from elsewhere can be put, too.
        assert_eq!(export(&node).await["written"], 0, "a copy says nothing new");
        drop(server);
        node.ask("remove", json!({"packages": ["app"]})).await;
        node.install("core@1.0.0").await.expect("it is here");
        let error = node.install("absent").await.expect_err("nobody answers");
        assert_eq!((named(&error), error.retryable), ("REMOTE_UNREACHABLE", true), "{error}");
    });
}

#[test]
fn a_copy_that_is_cut_short_anywhere_leaves_a_bucket_that_can_be_used() {
    block_on(async {
        let server = Server::start();
        let author = author(&server).await;
        export(&author).await;
        author.release("core", "1.1.0", "acme").await.expect("publishes");
        let node = reader(&server).await;
        let mut cut = 0;
        let ended = loop {
            // Archive, feed, release, head; the release, which the head has yet to name, goes again with it.
            let mut left = [0, 1, 1, 1, 2][cut];
            server.refuse(Some(Box::new(move |method, _| {
                let is_over = method == "PUT" && left == 0;
                left -= usize::from(method == "PUT" && left > 0);
                is_over.then(|| says(403, "AccessDenied", ""))
            })));
            let exported = author.try_ask("registry export", json!({"directory": URL})).await;
            server.refuse(None);
            let resolved = node.ask("resolve", json!({"packages": ["core"]})).await;
            node.install("core").await.unwrap_or_else(|error| panic!("after {cut} objects: {error}"));
            node.ask("remove", json!({"packages": ["core"]})).await;
            match exported {
                Ok(_) => break resolved,
                Err(error) => assert_eq!(named(&error), "BUCKET_DENIES", "{error}"),
            }
            cut += 1;
        };
        assert_eq!(cut, 4, "what was put stays");
        assert!(ended["packages"].to_string().contains("1.1.0"), "{ended}");
        assert_eq!(export(&author).await["written"], 0);
    });
}

#[test]
fn a_wrong_or_cut_object_is_refused_and_a_bucket_is_mended() {
    block_on(async {
        let server = Server::start();
        let author = author(&server).await;
        export(&author).await;
        for (below, name) in [("blobs", "core"), ("api/v1/assets/core/heads", "core"), ("api/v1/feeds", "core")] {
            // What is known by its digest is not read again, so each is a node that knows nothing.
            let node = reader(&server).await;
            let file = objects(&server, below).pop().expect("is there");
            let file = if below == "blobs" { blob_of(&server, name) } else { file };
            let whole = std::fs::read(&file).expect("reads");
            for changed in [&whole[..whole.len() / 2], b"something else"] {
                std::fs::write(&file, changed).expect("writes");
                let error = node.install(name).await.expect_err("is refused");
                assert_eq!((named(&error), error.code), ("REMOTE_TAMPERED", Code::INTEGRITY), "{below}: {error}");
                assert!(error.to_string().contains(URL), "{error}");
            }
            assert_eq!(node.installed().await, [""; 0]);
            std::fs::write(&file, whole).expect("writes");
        }
        let node = reader(&server).await;
        // An archive that is gone is offered by no new head, and put again by whoever has it.
        std::fs::remove_file(blob_of(&server, "core")).expect("removed");
        std::fs::write(objects(&server, "api/v1/assets/app/heads").pop().expect("is there"), "?").expect("writes");
        let rebuilt = author.ask("registry rebuild", json!({"bucket": URL})).await;
        assert_eq!((&rebuilt["packages"], &rebuilt["versions"], &rebuilt["feeds"]), (&json!(2), &json!(2), &json!(1)));
        let faults = rebuilt["faults"].to_string();
        assert!(faults.contains("version 1.0.0: its archive") && faults.contains("app/heads"), "{faults}");
        let error = node.install("core").await.expect_err("is not offered");
        assert_eq!(named(&error), "PACKAGE_NOT_FOUND", "{error}");
        export(&author).await;
        node.install("app").await.expect("is whole again");

        // All heads lost: they are made again from the releases.
        for name in ["app", "core", "middle"] {
            std::fs::remove_dir_all(server.file(&format!("registry/api/v1/assets/{name}/heads"))).expect("removed");
        }
        let other = reader(&server).await;
        let error = other.install("app").await.expect_err("nothing is offered");
        assert_eq!(named(&error), "PACKAGE_NOT_FOUND", "{error}");
        let rebuilt = other.ask("registry rebuild", json!({})).await;
        assert_eq!((&rebuilt["packages"], &rebuilt["faults"]), (&json!(3), &json!([])), "{rebuilt}");
        other.install("app").await.expect("installs");
        assert_eq!(other.ask("registry rebuild", json!({})).await["written"], 0, "nothing is left to do");
    });
}

/// Gives the file of a package's archive, by what its head says.
fn blob_of(server: &Server, name: &str) -> PathBuf {
    let head = objects(server, &format!("api/v1/assets/{name}/heads")).pop().expect("is there");
    let head: Json = serde_json::from_slice(&std::fs::read(head).expect("reads")).expect("is a document");
    let hex = head["releases"][0]["blob"].as_str().expect("text").trim_start_matches("blake3:").to_owned();
    server.file(&format!("registry/blobs/{}/{}/{hex}", &hex[..2], &hex[2..4]))
}

#[test]
fn what_is_wrong_with_a_bucket_is_told_with_what_to_do_and_without_secrets() {
    block_on(async {
        let server = Server::start();
        let node = reader(&server).await;
        let keys = node.home.path().join("bucket-credentials");
        let told = |error: &Error| {
            let text = format!("{error}\nhelp: {}", error.detail.help.as_deref().unwrap_or_default());
            let hidden = [SECRET_KEY, "wrong-secret", "X-Amz", "Signature="];
            assert!(hidden.iter().all(|secret| !text.contains(secret)), "{text}");
            text
        };
        let refused = async |name: &str, reason: &str, help: &str| {
            let error = node.install("core").await.expect_err(name);
            let text = told(&error);
            assert_eq!(named(&error), name, "{text}");
            assert!(text.contains(reason) && text.contains(&format!("help: {help}")), "{text}");
            text
        };
        let text = refused("NO_REGISTRY_IN_BUCKET", "there is no registry in it", "`catalog registry export").await;
        let place = format!("bucket `packages` of `{}`, key `registry/api/v1/bucket`", server.endpoint());
        assert!(text.starts_with(&place), "{text}");
        credentials(&keys, ACCESS_KEY, "wrong-secret");
        refused("CREDENTIALS_REFUSED", "not accepted (`SignatureDoesNotMatch`)", "see whether they are of this store")
            .await;
        credentials(&keys, "AKUNKNOWN", SECRET_KEY);
        refused("CREDENTIALS_REFUSED", "not accepted (`", "see whether they are of this store").await;
        std::fs::remove_file(&keys).expect("removed");
        refused(
            "NO_CREDENTIALS",
            "bucket-credentials` holds no credentials",
            "give `configuration.s3.credentials_file`",
        )
        .await;
        credentials(&keys, ACCESS_KEY, SECRET_KEY);
        std::fs::rename(server.bucket(), server.bucket().with_file_name("elsewhere")).expect("renamed");
        refused("BUCKET_NOT_FOUND", "there is no such bucket", "make the bucket").await;
        std::fs::rename(server.bucket().with_file_name("elsewhere"), server.bucket()).expect("renamed");
        // A store of several regions says where a bucket is to whoever signs for another.
        server.refuse(Some(Box::new(|_, uri| {
            let is_elsewhere = uri.contains("us-east-1");
            is_elsewhere.then(|| says(400, "AuthorizationQueryParametersError", "<Region>eu-central-1</Region>"))
        })));
        let region = "it is in the region `eu-central-1`, and was asked for in `us-east-1`";
        refused("OTHER_REGION", region, "set `configuration.s3.region`").await;
        server.refuse(Some(Box::new(|_, _| Some(says(403, "AccessDenied", "")))));
        refused("BUCKET_DENIES", "do not allow it (`AccessDenied`)", "reading needs `s3:ListBucket`").await;
        server.refuse(Some(Box::new(|_, _| Some(says(403, "RequestTimeTooSkewed", "")))));
        refused("CLOCK_DIFFERS", "the clocks of the store", "set this machine's clock").await;
        server.refuse(None);
        let error =
            node.try_ask("registry export", json!({"directory": "s3://Packages"})).await.expect_err("is no bucket");
        assert!(told(&error).contains("`s3://Packages` is no address of a registry"), "{error}");
        assert_eq!(error.code, Code::INVALID_ARGUMENT);
    });
}

/// Short, so that a store that hangs is given up soon.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    answer: Duration::from_millis(300),
    body: Duration::from_secs(5),
    backoff: Duration::from_millis(1),
};

/// Makes a client with credentials in a directory.
fn client(server: &Server, directory: &Path) -> Bucket {
    let path = directory.join("credentials");
    credentials(&path, ACCESS_KEY, SECRET_KEY);
    let options = BucketOptions {
        endpoint: Some(server.endpoint()),
        region: "us-east-1".into(),
        path_style: true,
        insecure: false,
        ca_file: None,
        credentials: Some(CredentialsFile { path, profile: "default".into() }),
    };
    let address = Address::parse(&format!("s3://{BUCKET}"), false).expect("an address");
    Bucket::new(address, &options, PATIENCE).expect("makes a client")
}

fn release(version: &str, content: &[u8]) -> OfferedRelease {
    OfferedRelease {
        version: version.parse().expect("a version"),
        digests: Digests::of(content),
        tar_bytes: content.len() as u64,
        blob: Digest::of(content),
        archive_bytes: content.len() as u64,
        manifest: "{}".into(),
        published_at: OffsetDateTime::UNIX_EPOCH,
        yanked: None,
        statement: None,
    }
}

fn document(releases: Vec<OfferedRelease>) -> PackageDocument {
    let name = "acme/vec3".parse().expect("a name");
    PackageDocument { format: FORMAT_VERSION, name, releases }
}

fn versions(bucket: &Bucket) -> BTreeSet<String> {
    let found = bucket.package(&"acme/vec3".parse().expect("a name"), None).expect("answers");
    let Fetched::Found { value, .. } = found else { panic!("is not there") };
    value.releases.into_iter().map(|release| release.version.to_string()).collect()
}

fn finish(push: &Push<'_>) {
    let names = NamesDocument { format: FORMAT_VERSION, names: Vec::new() };
    let health = HealthDocument { format: FORMAT_VERSION, status: "ok".into(), packages: 0, versions: 0 };
    push.finish(&names, &health).expect("finishes");
}

#[test]
fn nodes_that_put_at_the_same_time_lose_nothing_of_each_others() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    let bucket = client(&server, directory.path());
    let (one, other) = (Push::new(&bucket), Push::new(&bucket));
    let name = "acme/vec3".parse().expect("a name");
    // Each has seen what is there before any of them puts something.
    one.blob(&name, b"first").expect("puts");
    other.blob(&name, b"second").expect("puts");
    one.package(&document(vec![release("1.0.0", b"first")]), Side::Own).expect("puts");
    other.package(&document(vec![release("2.0.0", b"second")]), Side::Own).expect("puts");
    finish(&one);
    let heads = || {
        let files = std::fs::read_dir(server.file("api/v1/assets/acme~vec3/heads")).expect("is there");
        files.count()
    };
    assert_eq!((heads(), versions(&bucket)), (2, BTreeSet::from(["1.0.0".into(), "2.0.0".into()])));
    let third = Push::new(&bucket);
    third.blob(&name, b"third").expect("puts");
    third.package(&document(vec![release("3.0.0", b"third")]), Side::Own).expect("puts");
    assert_eq!((heads(), versions(&bucket).len()), (1, 3), "who comes next puts them together");
    // A version never changes, whoever puts another.
    let fourth = Push::new(&bucket);
    let error = fourth.package(&document(vec![release("3.0.0", b"another")]), Side::Own).expect_err("is refused");
    assert!(error.to_string().contains("version 3.0.0 has two contents"), "{error}");
    assert_eq!(versions(&bucket).len(), 3);
    let releases = std::fs::read_dir(server.file("api/v1/assets/acme~vec3/releases")).expect("is there");
    assert_eq!(releases.count(), 3, "nothing of it is left");
}

#[test]
fn a_store_that_hangs_or_is_busy_is_asked_again_and_given_up() {
    let (server, directory) = (Server::start(), tempfile::tempdir().expect("a directory"));
    let bucket = client(&server, directory.path());
    finish(&Push::new(&bucket));
    let name = "acme/vec3".parse().expect("a name");
    for refusal in [Refusal::Silence, says(503, "SlowDown", ""), says(400, "RequestTimeout", "")] {
        let mut left = 3;
        let twice = refusal.clone();
        server.refuse(Some(Box::new(move |_, _| {
            left -= i32::from(left > 0);
            (left > 0).then(|| twice.clone())
        })));
        assert_eq!(bucket.package(&name, None).expect("answers the third time"), Fetched::Absent);
        server.refuse(Some(Box::new(move |_, _| Some(refusal.clone()))));
        let error = bucket.package(&name, None).expect_err("is given up");
        let RemoteError::Unreachable { url, attempts, source } = error else { panic!("{error}") };
        assert_eq!((&*url, attempts), ("s3://packages/api/v1/assets/acme~vec3/heads/", 4));
        assert!(!source.to_string().contains("X-Amz"), "{source}");
    }
    // An answer without end is not read to its end, nor a list of what was not asked for.
    let list = |key: &str| {
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Contents>\
                 <Key>{key}</Key><Size>1</Size></Contents><IsTruncated>true</IsTruncated><NextContinuationToken>x\
                 </NextContinuationToken></ListBucketResult>"
        )
    };
    for (key, reason) in [("elsewhere", "not asked for"), ("api/v1/assets/acme~vec3/heads/00", "does not end")] {
        let body = list(key);
        server.refuse(Some(Box::new(move |_, _| Some(Refusal::Says(200, body.clone())))));
        let error = bucket.package(&name, None).expect_err("is refused").to_string();
        assert!(error.contains(reason), "{error}");
    }
}
