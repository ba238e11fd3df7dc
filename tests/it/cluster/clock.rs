//! A node whose wall clock jumps, forward and back, while it works and while it is down.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use super::*;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// Two nodes, of which the clock of the first can be set.
struct Shifted {
    cluster: Cluster,
    clock: PathBuf,
}

impl Shifted {
    fn up() -> Self {
        let cluster = Cluster::with(programs::bundle().to_path_buf(), None);
        cluster.up(2, "loopback");
        cluster.good(&["cluster", "kill", "n1"]);
        let shifted = Self { clock: cluster.home("clock"), cluster };
        shifted.set(0);
        shifted.start();
        shifted
    }

    /// Shifts the clock by so many seconds from what it is elsewhere.
    fn set(&self, seconds: i64) {
        // In place: the node has mapped it.
        let file = fs::File::options().create(true).truncate(false).write(true).open(&self.clock).expect("is there");
        std::os::unix::fs::FileExt::write_all_at(&file, &seconds.to_le_bytes(), 0).expect("is written");
    }

    fn start(&self) {
        let (code, json) = self.ask_at(self.cluster.directory.path(), &["cluster", "start", "n1"]);
        assert_eq!(code, 0, "{json}");
    }

    /// Asks by a program with the same clock.
    fn ask_at(&self, home: &Path, words: &[&str]) -> (i32, Json) {
        let mut command = Command::new(programs::host_sim());
        command.env_remove("RUST_LOG").env_remove("HYPERMESH_PASSPHRASE").env("HOME", home).arg("--home").arg(home);
        command.env("LD_PRELOAD", library("shifted_clock")).env("SHIFTED_CLOCK", &self.clock);
        let output = command.args(words).arg("--json").stdin(Stdio::null()).output().expect("starts");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        let json = serde_json::from_str(stdout.lines().last().unwrap_or_default());
        let json = json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap_or(-1), json)
    }

    fn ask(&self, words: &[&str]) -> (i32, Json) {
        self.ask_at(&self.cluster.home("n1"), words)
    }

    fn good(&self, words: &[&str]) -> Json {
        let (code, json) = self.ask(words);
        assert_eq!((code, &json["ok"]), (0, &json!(true)), "{words:?}: {json}");
        json
    }

    /// Makes a program that gives a number.
    fn package(&self, name: &str, number: u32) -> String {
        let main = format!("return function() return {number} end");
        let package = programs::package(self.cluster.directory.path(), name, "lua-script", "", &main);
        package.to_str().expect("text").to_owned()
    }

    /// Publishes a program that gives a number, installs and runs it.
    fn works(&self, name: &str, number: u32) {
        self.good(&["catalog", "publish", &self.package(name, number)]);
        self.good(&["catalog", "install", name]);
        assert_eq!(self.good(&["catalog", "run", name])["value"], json!(number));
        self.good(&["catalog", "verify"]);
        assert_eq!(self.good(&["catalog", "fsck"])["findings"], json!([]));
    }
}

#[test]
fn a_node_whose_clock_jumps_goes_on_and_loses_nothing() {
    let node = Shifted::up();
    node.works("before", 1);
    let main = "return function() while true do end end";
    let endless = programs::package(node.cluster.directory.path(), "endless", "lua-script", "", main);
    node.good(&["catalog", "publish", endless.to_str().expect("text")]);
    node.good(&["catalog", "install", "endless"]);
    let begun = node.good(&["catalog", "run", "endless", "--detach"]);
    let id = begun["execution"].as_str().expect("text").to_owned();
    let runs = |when: &str| {
        let until = Instant::now() + PATIENCE;
        loop {
            let listed = node.good(&["catalog", "ps", &id]).to_string();
            if listed.contains("\"Running\"") {
                break;
            }
            assert!(Instant::now() < until && !listed.contains("TimedOut"), "{when}: {listed}");
            std::thread::sleep(PACKET_TIMEOUT);
        }
        assert_eq!(node.good(&["status"])["leases"], json!(1), "{when}");
    };
    runs("before");
    // Three hours on: what runs has not run longer for it, and its resources stay its own.
    node.set(3 * HOUR);
    // Longer than the host takes to look at its leases.
    std::thread::sleep(Duration::from_secs(3));
    runs("three hours on");
    node.works("later", 2);
    // Back again, and further back: what was signed by the later clock still counts, and so does what is signed now.
    node.set(0);
    node.works("again", 3);
    runs("back");
    // Before its certificates began a node signs nothing, and says why; the rest goes on.
    node.set(-3 * HOUR);
    let package = node.package("earlier", 4);
    let (code, refused) = node.ask(&["catalog", "publish", &package]);
    assert_eq!((code, &refused["error"]["help"]), (5, &json!("set the clock of this machine")), "{refused}");
    for verb in ["verify", "fsck", "list", "peers"] {
        node.good(&["catalog", verb]);
    }
    runs("three hours back");
    node.good(&["catalog", "kill", &id]);
    node.set(0);
    node.works("earlier", 4);
    assert_eq!(node.good(&["status"])["leases"], json!(0));
    for name in ["before", "again", "earlier"] {
        node.cluster.until("n2", &["catalog", "install", name]);
    }
    // What was signed three hours ahead counts elsewhere when that time has come, and holds up nothing that came after it.
    let (code, refused) = ask(&node.cluster.home("n2"), &["catalog", "install", "later"]);
    assert_eq!((code, &refused["error"]["name"]), (1, &json!("PACKAGE_NOT_FOUND")), "{refused}");
    // A clock that is wrong when the node starts, and mended while it runs.
    node.cluster.good(&["cluster", "kill", "n1"]);
    node.set(3 * HOUR);
    node.start();
    node.set(0);
    node.works("mended", 5);
    // Before its publisher was anybody the extension is nobody's.
    node.cluster.good(&["cluster", "kill", "n1"]);
    node.set(-2 * DAY);
    let (code, refused) = node.ask_at(node.cluster.directory.path(), &["cluster", "start", "n1"]);
    assert!(code == 3 && refused.to_string().contains("has not loaded its extension"), "{code} {refused}");
    node.set(0);
    node.start();
    assert_eq!(node.good(&["catalog", "run", "mended"])["value"], json!(5));
    node.cluster.good(&["cluster", "down"]);
    assert_eq!(node.cluster.processes(), Vec::<String>::new());
}
