//! The contract between a host and an extension, over both ways of loading one: opened from a signed bundle, and linked.

use std::pin::pin;
use std::time::Duration;

use data_encoding::BASE64;
use host_sim::host::{RequestOptions, Source};
use host_sim::trust::{TrustHome, Unlock};
use hypermesh_abi::Code;
use hypermesh_abi::records::{AssetRequest, ExecutionRequest, ExtensionState};
use serde_json::{Value as Json, json};
use trustchain::certificate;
use trustchain::digest::Artifact;
use trustchain::ed25519::Signature;
use trustchain::revocation::Reason;

use super::support::{Node, block_on, library, linked_witness, traced};

/// How the witness is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loading {
    Bundle,
    Linked,
}

macro_rules! over_both_loadings {
    ($($test:ident)+) => {
        $(mod $test {
            use super::{Loading, block_on};

            #[test]
            fn opened_from_a_bundle() {
                block_on(super::$test(Loading::Bundle));
            }

            #[test]
            fn linked() {
                block_on(super::$test(Loading::Linked));
            }
        })+
    };
}

over_both_loadings! {
    the_states_have_their_transitions_and_no_others
    a_request_is_answered_and_an_unknown_one_refused
    progress_reaches_the_caller
    a_service_that_is_not_granted_is_refused_and_audited
    trust_is_asked_and_a_publisher_signs
    the_transport_is_told_who_the_node_is_and_gets_two_forms_of_signatures
    what_an_extension_needs_and_is_not_granted_keeps_it_out
    state_moves_only_whole
    a_lease_is_counted_released_and_taken_back
    spans_and_events_reach_the_host
    the_deadline_ends_a_call
    a_dropped_call_is_cancelled
    operations_above_the_limit_are_refused
    a_panic_is_an_error_of_that_call_only
    contributions_are_taken_and_called
    a_second_extension_of_the_same_id_is_refused
    an_extension_that_stopped_lets_go_of_its_host
}

async fn load(loading: Loading, rest: Json) -> Node {
    let node = Node::new();
    node.host.load(source(loading, &node, &rest)).await.expect("loads");
    node
}

fn source(loading: Loading, node: &Node, rest: &Json) -> Source {
    match loading {
        Loading::Bundle => {
            Source::Bundle(node.home.bundle("witness", &library("witness_extension"), rest).expect("laid out"))
        }
        Loading::Linked => linked_witness(rest),
    }
}

fn granted(capabilities: &[&str]) -> Json {
    json!({"capabilities": {"required": [], "granted": capabilities}})
}

async fn state(node: &Node) -> ExtensionState {
    node.host.report().await.into_iter().find(|report| report.id == "witness").expect("is loaded").state
}

async fn code(node: &Node, verb: &str, params: Json) -> Code {
    node.try_ask("witness", verb, params).await.expect_err("refused").code
}

async fn the_states_have_their_transitions_and_no_others(loading: Loading) {
    let node = load(loading, json!({})).await;
    assert_eq!(state(&node).await, ExtensionState::Running);
    node.ask("witness", "say", json!({})).await;

    let error = node.host.resume("witness").await.expect_err("it runs");
    assert_eq!(
        (error.code, error.to_string().as_str()),
        (Code::INVALID_ARGUMENT, "an extension cannot go from `Running` to `Running`")
    );
    node.host.pause("witness").await.expect("pauses");
    assert_eq!(state(&node).await, ExtensionState::Paused);
    assert_eq!(code(&node, "say", json!({})).await, Code::NOT_RUNNING);
    let error = node.host.pause("witness").await.expect_err("paused already");
    assert_eq!(error.to_string(), "an extension cannot go from `Paused` to `Paused`");
    node.host.resume("witness").await.expect("goes on");
    assert_eq!(node.ask("witness", "count", json!({})).await["said"], 1, "a pause forgets nothing");

    node.host.unload("witness").await.expect("unloads");
    assert_eq!(code(&node, "say", json!({})).await, Code::EXTENSION_NOT_FOUND);
    assert_eq!(node.host.unload("witness").await.expect_err("gone").code, Code::EXTENSION_NOT_FOUND);
    node.host.load(source(loading, &node, &json!({}))).await.expect("loads again");
    assert_eq!(node.ask("witness", "count", json!({})).await["said"], 0, "another instance counts anew");
    let log = node.audit();
    for event in ["registered", "loaded", "unloaded"] {
        assert!(log.contains(&format!(r#""type":"{event}""#)), "{event} is in {log}");
    }
}

async fn a_request_is_answered_and_an_unknown_one_refused(loading: Loading) {
    let node = load(loading, json!({})).await;
    assert_eq!(node.ask("witness", "say", json!({"text": "hello"})).await["said"], "hello");
    let error = node.try_ask("witness", "sing", json!({})).await.expect_err("no such verb");
    assert_eq!(
        (error.code, error.to_string().as_str()),
        (Code::UNSUPPORTED, "verb `sing` is not known to this extension")
    );
    assert_eq!(code(&node, "say", json!([])).await, Code::INVALID_ARGUMENT, "parameters are an object");
    let description = node.host.describe("witness").expect("describes itself");
    assert_eq!((description.metadata.id.as_str(), description.metadata.version.as_str()), ("witness", "1.0.0"));
    assert!(description.verbs.iter().any(|verb| verb.name == "say"));
    let report = node.host.report().await.remove(0);
    let status = report.status.expect("it runs");
    assert_eq!((status.total_requests, status.error_count, status.active_operations), (3, 2, 0));
    assert!(node.host.validate("witness").await.expect("checks itself").valid);
}

async fn progress_reaches_the_caller(loading: Loading) {
    let node = load(loading, json!({})).await;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
    let options = RequestOptions { progress: Some(sender), ..RequestOptions::default() };
    node.host.request("witness", "steps", &json!({"steps": 3}), options).await.expect("answers");
    let mut done = Vec::new();
    while let Some(progress) = receiver.recv().await {
        assert_eq!((progress.stage.as_str(), progress.total), ("step", 3));
        done.push(progress.done);
    }
    assert_eq!(done, [1, 2, 3]);
    node.ask("witness", "steps", json!({"steps": 1_000})).await;
}

async fn a_service_that_is_not_granted_is_refused_and_audited(loading: Loading) {
    let node = load(loading, granted(&["MonitoringAccess"])).await;
    let grants = node.ask("witness", "grants", json!({})).await;
    assert_eq!(grants["capabilities"], json!(["MonitoringAccess"]));
    assert!(grants["host"].as_str().expect("text").starts_with("host-sim"));
    for (verb, capability) in [
        ("lease", "AssetManagement"),
        ("assets", "AssetManagement"),
        ("consensus", "ConsensusAccess"),
        ("trust", "TrustChainAccess"),
        ("anchors", "TrustChainAccess"),
        ("sign", "TrustChainAccess"),
        ("identity", "TransportAccess"),
        ("sign-transport", "TransportAccess"),
    ] {
        let error = node.try_ask("witness", verb, json!({"query": {}})).await.expect_err("not granted");
        assert_eq!(error.code, Code::CAPABILITY_NOT_GRANTED, "{verb}: {error}");
        assert!(error.to_string().contains(capability) && error.detail.help.is_some(), "{verb}: {error}");
    }
    let refusals = node.audit().matches(r#""type":"CapabilityRequest""#).count();
    assert_eq!(refusals, 8);
    // The same services with the grant, where the host has them.
    let node = load(loading, granted(&["AssetManagement", "ConsensusAccess", "TrustChainAccess"])).await;
    node.ask("witness", "assets", json!({})).await;
    assert_eq!(code(&node, "consensus", json!({})).await, Code::CONSENSUS_VALIDATION_FAILED, "there are no validators");
    assert_eq!(code(&node, "trust", json!({"query": {}})).await, Code::CERTIFICATE_VALIDATION_FAILED);
}

async fn trust_is_asked_and_a_publisher_signs(loading: Loading) {
    let node = load(loading, granted(&["TrustChainAccess"])).await;
    let anchors = node.ask("witness", "anchors", json!({})).await;
    let count = |field: &str| anchors[field].as_array().map_or(0, Vec::len);
    assert_eq!((count("roots"), count("authorities"), count("revocations")), (1, 3, 4), "{anchors}");
    assert!(anchors["cluster"].as_str().is_some_and(|name| name.starts_with("cluster-")), "{anchors}");

    let artifact = Artifact::of(b"archive");
    let release = json!({"package": "local/vec", "version": "1.2.0", "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256, "blake3": artifact.blake3, "manifest": artifact.blake3, "tool": "witness 1.0.0"});
    let signed = node.ask("witness", "sign", json!({"release": release})).await;
    let query = json!({"envelope": signed["envelope"], "chain": signed["chain"]});
    let asked = |artifact: &str| json!({"artifact": artifact, "query": query});
    let verdict = node.ask("witness", "trust", asked("archive")).await;
    assert_eq!((&verdict["package"], &verdict["signer"]), (&json!("local/vec"), &json!("CN=local")), "{verdict}");
    assert_eq!(verdict["algorithms"], json!(["ed25519", "falcon-1024-r3"]));
    let refusal = |answer: Result<Json, hypermesh_abi::Error>| {
        let error = answer.expect_err("refused");
        (error.code, error.to_string())
    };
    let (code, text) = refusal(node.try_ask("witness", "trust", asked("another")).await);
    assert!(code == Code::CERTIFICATE_VALIDATION_FAILED && text.contains("its publisher vouches for"), "{text}");
    for (request, expected) in [
        (json!({"feed": {"number": 1}}), Code::INVALID_ARGUMENT),
        (json!({}), Code::INVALID_ARGUMENT),
        (json!({"release": {"package": "x", "version": "1"}}), Code::INVALID_ARGUMENT),
        (json!({"release": release, "publisher": "validator-1"}), Code::POLICY_DENIED),
        (json!({"release": release, "publisher": "publisher-authority"}), Code::POLICY_DENIED),
        (json!({"release": release, "publisher": "../local"}), Code::NOT_FOUND),
    ] {
        assert_eq!(refusal(node.try_ask("witness", "sign", request.clone()).await).0, expected, "{request}");
    }
    let audit = node.audit();
    assert!(
        audit.contains("release local/vec@1.2.0 by SHA256:") && audit.contains(r#""action":"trust_sign""#),
        "{audit}"
    );

    // What is revoked while the node runs counts at once.
    let home = TrustHome::open(node.home.path()).expect("opens");
    home.revoke("local", Reason::KeyCompromise, None, &Unlock::key_file()).expect("revokes");
    let (_, text) = refusal(node.try_ask("witness", "trust", asked("archive")).await);
    assert!(text.contains("the certificate of `CN=local` was revoked"), "{text}");
    std::fs::remove_dir_all(home.directory()).expect("removed");
    let error = node.try_ask("witness", "anchors", json!({})).await.expect_err("a home without certificates");
    assert!(error.code == Code::NOT_FOUND && error.detail.help.is_some_and(|help| help.contains("trust init")));
}

async fn the_transport_is_told_who_the_node_is_and_gets_two_forms_of_signatures(loading: Loading) {
    let node = load(loading, granted(&["TransportAccess"])).await;
    let identity = node.ask("witness", "identity", json!({})).await;
    let count = |field: &str| identity[field].as_array().map_or(0, Vec::len);
    assert_eq!((count("chain"), count("crls")), (2, 2), "{identity}");
    let content = [&[0x20; 64][..], b"TLS 1.3, client CertificateVerify\0", &[7; 32]].concat();
    let request = |kind: &str, message: &[u8]| json!({"kind": kind, "message": BASE64.encode(message)});
    let signed = node.ask("witness", "sign-transport", request("handshake", &content)).await;
    let signature = BASE64.decode(signed["signature"].as_str().expect("text").as_bytes()).expect("is base64");
    let leaf = certificate::from_pem(identity["chain"][0].as_str().expect("text").as_bytes()).expect("is PEM");
    leaf[0].key().verify(&content, &Signature::from_bytes(&signature).expect("64 bytes")).expect("is right");

    assert_eq!(code(&node, "sign-transport", request("handshake", b"a release")).await, Code::POLICY_DENIED);
    let audit = node.audit();
    let has = |text: &str| audit.contains(text);
    assert!(has("handshake by SHA256:") && has("identity of SHA256:"), "{audit}");
    assert!(has(r#""action":"transport_sign","allowed":false"#), "{audit}");
}

async fn what_an_extension_needs_and_is_not_granted_keeps_it_out(loading: Loading) {
    let node = Node::new();
    let rest = json!({"capabilities": {"granted": []}, "configuration": {"require": "NetworkAccess"}});
    let error = node.host.load(source(loading, &node, &rest)).await.expect_err("refused");
    assert_eq!(error.code, Code::CAPABILITY_NOT_GRANTED);
    assert_eq!(error.to_string(), "extension `witness` needs capabilities it is not granted: NetworkAccess");
    let rest = json!({"capabilities": {"granted": ["NetworkAccess"]}, "configuration": {"require": "NetworkAccess"}});
    node.host.load(source(loading, &node, &rest)).await.expect("loads");
}

async fn state_moves_only_whole(loading: Loading) {
    let node = load(loading, json!({})).await;
    node.ask("witness", "say", json!({})).await;
    let exported = node.host.export_state("witness").await.expect("exports");
    let state: Json = serde_json::from_slice(&exported).expect("is JSON");
    assert_eq!(
        (&state["version"], &state["extension"], &state["state"]),
        (&json!(1), &json!("witness"), &json!({"said": 1}))
    );
    assert!(state["exported_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{state}");

    let with = |key: &str, value: Json| {
        let mut changed = state.clone();
        changed[key] = value;
        changed.to_string().into_bytes()
    };
    for (bytes, expected) in [
        (with("version", json!(2)), Code::VERSION_INCOMPATIBLE),
        (with("checksum", json!("blake3:00")), Code::INTEGRITY),
        (with("state", json!({"said": 1_000})), Code::INTEGRITY),
        (with("extension", json!("echo")), Code::INVALID_ARGUMENT),
        (exported[..exported.len() / 2].to_vec(), Code::CORRUPT),
    ] {
        let error = node.host.import_state("witness", bytes).await.expect_err("refused");
        assert_eq!(error.code, expected, "{error}");
    }
    node.ask("witness", "say", json!({})).await;
    assert_eq!(node.ask("witness", "count", json!({})).await["said"], 2, "what was refused changed nothing");
    node.host.import_state("witness", exported).await.expect("imports");
    assert_eq!(node.ask("witness", "count", json!({})).await["said"], 1);
}

async fn a_lease_is_counted_released_and_taken_back(loading: Loading) {
    let node = load(loading, granted(&["AssetManagement"])).await;
    let held = || node.host.asset_manager().leases(None).len();
    node.ask("witness", "lease", json!({"millicores": 2})).await;
    assert_eq!(held(), 0, "the guard of the SDK released it at the end of the call");
    for _ in 0..3 {
        let lease = node.ask("witness", "lease", json!({"millicores": 2, "keep": true})).await;
        assert_eq!(lease["assets"][0]["asset_type"], "cpu", "{lease}");
    }
    assert_eq!(held(), 3);
    let own = node.ask("witness", "assets", json!({})).await;
    assert_eq!(own["assets"].as_array().map(Vec::len), Some(3), "{own}");
    assert_eq!(node.ask("witness", "drop-leases", json!({})).await["dropped"], 3);
    assert_eq!(held(), 0);

    let error = node.try_ask("witness", "lease", json!({"millicores": 1_000_000})).await.expect_err("too much");
    assert_eq!(error.code, Code::RESOURCE_LIMIT_EXCEEDED, "{error}");
    node.ask("witness", "lease", json!({"millicores": 2, "keep": true})).await;
    node.host.unload("witness").await.expect("unloads");
    assert_eq!(held(), 0, "what an extension holds when it stops is taken back");
}

async fn spans_and_events_reach_the_host(loading: Loading) {
    let node = load(loading, json!({})).await;
    let text = format!("marker-{}", node.host.identity().node_id);
    node.ask("witness", "trace", json!({ "text": text })).await;
    let lines = traced(&text);
    assert_eq!(lines.len(), 1, "{lines:?}");
    // A linked extension uses this program's own subscriber, which knows no span of the caller on another thread.
    let outer = if loading == Loading::Bundle { "request{extension=\"witness\" verb=\"trace\"}:" } else { "" };
    assert!(lines[0].contains(&format!("INFO {outer}inside{{text=")), "{}", lines[0]);
    assert!(lines[0].contains(&format!("traced {text}")) && lines[0].ends_with("count=1"), "{}", lines[0]);
}

async fn the_deadline_ends_a_call(loading: Loading) {
    let node = load(loading, json!({"resources": {"limits": {"operation_timeout": "60s"}}})).await;
    let options = |millis| RequestOptions { timeout: Some(Duration::from_millis(millis)), ..RequestOptions::default() };
    let answer = node.host.request("witness", "hang", &json!({}), options(30)).await;
    assert_eq!(answer.expect_err("too late").code, Code::DEADLINE_EXCEEDED);
    let counted = node.ask("witness", "count", json!({})).await;
    assert_eq!(counted["abandoned"], counted["waiting"], "{counted}");
    let known = node.host.request("witness", "call", &json!({}), options(5_000)).await.expect("answers").data;
    assert!(known["left_ms"].as_u64().is_some_and(|left| (1..=5_000).contains(&left)), "{known}");
    let limited = node.ask("witness", "call", json!({})).await;
    assert!(limited["left_ms"].as_u64().is_some_and(|left| (5_001..=60_000).contains(&left)), "{limited}");
}

async fn a_dropped_call_is_cancelled(loading: Loading) {
    let node = load(loading, json!({})).await;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let params = json!({});
    {
        let options = RequestOptions { progress: Some(sender), ..RequestOptions::default() };
        let mut call = pin!(node.host.request("witness", "hang", &params, options));
        tokio::select! {
            answer = &mut call => panic!("answered {answer:?}"),
            progress = receiver.recv() => assert_eq!(progress.expect("reported").stage, "waiting"),
        }
    }
    let generation = node.host.generation("witness").expect("runs");
    until(|| generation.extension().active_operations() == 0).await;
    assert_eq!(node.ask("witness", "count", json!({})).await["abandoned"], 1);
}

async fn operations_above_the_limit_are_refused(loading: Loading) {
    let node = load(loading, json!({"resources": {"limits": {"concurrent_operations": 2}}})).await;
    let params = json!({});
    let ask = || node.host.request("witness", "hang", &params, RequestOptions::default());
    let (mut first, mut second) = (Box::pin(ask()), Box::pin(ask()));
    let generation = node.host.generation("witness").expect("runs");
    tokio::select! {
        answer = &mut first => panic!("answered {answer:?}"),
        answer = &mut second => panic!("answered {answer:?}"),
        () = until(|| generation.extension().active_operations() == 2) => {}
    }
    let error = ask().await.expect_err("one too many");
    assert_eq!(error.code, Code::RESOURCE_LIMIT_EXCEEDED);
    assert!(error.retryable && error.to_string().contains("works on 2 operations already"), "{error}");
    drop(first);
    node.ask("witness", "say", json!({})).await;
    drop(second);
}

async fn a_panic_is_an_error_of_that_call_only(loading: Loading) {
    let node = load(loading, json!({})).await;
    let error = node.try_ask("witness", "panic", json!({"n": 7})).await.expect_err("panics");
    assert_eq!(error.code, Code::PANIC);
    assert!(error.to_string().starts_with("extension panicked: asked to, with {\"n\":7}"), "{error}");
    node.ask("witness", "say", json!({})).await;
}

async fn contributions_are_taken_and_called(loading: Loading) {
    let node = load(loading, granted(&["AssetManagement", "VMExecution"])).await;
    let report = node.host.report().await.remove(0);
    assert_eq!(report.contributions, ["witness.shelves/1", "witness.archives/1", "witness.machines/1"]);
    assert!(node.host.assets().await.iter().any(|asset| asset.id == "shelf"));

    let generation = node.host.generation("witness").expect("runs");
    let ctx = node.host.call_context(Duration::from_secs(10));
    let handler = &generation.contributions().handlers[0].object;
    assert_eq!(handler.media_types().expect("answers"), ["application/x-witness"]);
    assert!(handler.inspect("application/x-witness", b"WITNESS").expect("answers"));
    assert!(!handler.inspect("application/x-witness", b"OTHER").expect("answers"));
    assert!(handler.verify(ctx, b"WITNESS".to_vec()).await.expect("answers").accepted);
    assert!(!handler.install(ctx, b"OTHER".to_vec()).await.expect("answers").accepted);
    assert_eq!(handler.remove(ctx, "a@1").await.expect_err("not there").code, Code::NOT_FOUND);

    let adapter = &generation.contributions().adapters[0].object;
    assert_eq!(adapter.describe().expect("answers").asset_types, ["Library"]);
    let allocation = adapter.allocate(ctx, &AssetRequest::default()).await.expect("answers");
    assert_eq!(adapter.usage(ctx, allocation).await.expect("answers").figures["books"], allocation);
    adapter.release(ctx, allocation).await.expect("answers");

    let executor = &generation.contributions().executors[0].object;
    assert_eq!(executor.describe().expect("answers").languages, ["echo"]);
    assert!(!executor.check(ctx, Vec::new()).await.expect("answers").valid);
    let request = ExecutionRequest { arguments: vec![json!(42)], ..ExecutionRequest::default() };
    assert_eq!(executor.execute(ctx, b"x".to_vec(), &request).await.expect("answers").value, json!(42));
    executor.stats(ctx).await.expect("answers");

    node.host.unload("witness").await.expect("unloads");
    let late = executor.execute(ctx, b"x".to_vec(), &request).await.expect_err("its extension is gone");
    assert_eq!(late.code, Code::NOT_RUNNING);
}

async fn a_second_extension_of_the_same_id_is_refused(loading: Loading) {
    let node = load(loading, json!({})).await;
    let error = node.host.load(source(loading, &node, &json!({}))).await.expect_err("is there already");
    assert_eq!(error.code, Code::EXTENSION_ALREADY_LOADED);
    node.ask("witness", "say", json!({})).await;
}

async fn an_extension_that_stopped_lets_go_of_its_host(loading: Loading) {
    let Node { host, home } = load(loading, json!({})).await;
    host.unload("witness").await.expect("unloads");
    drop(host);
    // The library stays mapped; had it kept the host's services, the audit log would still be locked.
    home.host();
}

/// Waits for something that another thread brings about.
async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        tokio::task::yield_now().await;
    }
}
