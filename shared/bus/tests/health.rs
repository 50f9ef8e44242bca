//! Who asks for a service's health is not told by just anyone.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use synscope_bus::health::{HealthError, ask};
use synscope_bus::subject::NodeId;

/// Listens under the name that it is told, says so, and answers each asker with the words that it is told; as the user
/// that it is told.
const IMPOSTOR: &str = r#"
import os, socket, sys
os.setuid(int(sys.argv[3]))
listener = socket.socket(socket.AF_UNIX)
listener.bind("\0" + sys.argv[1])
listener.listen()
print("listens", flush=True)
while True:
    asker, _ = listener.accept()
    asker.sendall(sys.argv[2].encode())
    asker.close()
"#;

/// Ends the process also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn answered_by(user: &str, node: &NodeId, words: &str) -> Result<(), HealthError> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "python3", "-c", IMPOSTOR, &format!("synscope-api-{node}"), words, user]);
    command.stdout(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "listens\n");
    ask("api", node).await.map(drop)
}

#[tokio::test]
async fn another_users_answer_and_what_is_no_health_are_refused() {
    let node = NodeId::new(format!("t-{}", std::process::id())).unwrap();
    let well = r#"{"phase": "ready"}"#;
    let foreign = answered_by("65534", &node, well).await;
    assert!(matches!(foreign, Err(HealthError::Foreign { uid: 65534, .. })), "{foreign:?}");
    let nonsense = answered_by("0", &node, "well").await;
    assert!(matches!(nonsense, Err(HealthError::Unreadable { .. })), "{nonsense:?}");
    answered_by("0", &node, well).await.unwrap();
}
