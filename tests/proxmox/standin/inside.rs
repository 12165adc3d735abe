//! What runs in a container: a real process, with the container's directory as its root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use phoenix::domain::ids::Ctid;
use phoenix::domain::refusal::Refusal;

use super::call::{Call, command};
use super::options::Options;
use super::set::refused;
use super::{Failure, Node, Outcome};

/// Runs a command in a container with this environment, and ends as it ends.
fn enter(node: &Node, call: &Call, ctid: Ctid, words: &[&str], env: &[(&str, &str)]) -> Outcome {
    let root = node.rootfs(ctid).ok_or_else(|| node.missing(ctid))?;
    let Some((program, rest)) = words.split_first() else {
        return Err(Failure::new(255, "missing command"));
    };
    let found = match program.contains('/') {
        true => root.join(program.trim_start_matches('/')).exists(),
        false => ["bin", "usr/bin"]
            .iter()
            .any(|folder| root.join(folder).join(program).symlink_metadata().is_ok()),
    };
    if !found {
        let text = format!(
            "lxc-attach: {ctid}: ../src/lxc/attach.c: lxc_attach_run_command: 1841 No such file or directory - Failed to exec \"{program}\""
        );
        return Err(Failure::new(127, text));
    }
    let mut inside = command("chroot".as_ref());
    inside
        .arg(root)
        .args(["/bin/busybox", "env", "-i"])
        .args(env.iter().map(|(name, value)| format!("{name}={value}")))
        .arg(program)
        .args(rest)
        .stdin(Stdio::inherit())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let mut child = inside.spawn().expect("chroot");
    call.middle(node);
    let status = child.wait().expect("it ends");
    if call.number.is_some() {
        call.effect(node, "inside", &format!("{ctid} {program}"));
    }
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Failure::new(code, "")),
        (None, signal) => Err(Failure::new(128 + signal.unwrap_or(0), "")),
    }
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub fn exec(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    node.read(ctid)?;
    if node.init(ctid).is_none() {
        return Err(refused(node, &Refusal::ExecNotRunning(ctid)));
    }
    let words: Vec<&str> = options.arguments()[1..]
        .iter()
        .map(String::as_str)
        .collect();
    let own: Vec<(String, String)> = match options.get("keep-env") {
        Some("0") => Vec::new(),
        _ => std::env::vars()
            .filter(|(name, _)| name != "PATH" && name != "TERM")
            .collect(),
    };
    let mut env: Vec<(&str, &str)> = own
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    env.extend([("PATH", PATH), ("container", "lxc"), ("TERM", "linux")]);
    enter(node, call, ctid, &words, &env)
}

pub fn attach(node: &Node, call: &Call, words: &[&str]) -> Outcome {
    let mut rest = words.iter();
    let (mut ctid, mut env) = (
        None,
        vec![("PATH", PATH), ("container", "lxc"), ("TERM", "linux")],
    );
    let mut inside: Vec<&str> = Vec::new();
    while let Some(word) = rest.next() {
        match *word {
            "-n" | "--name" => ctid = rest.next().and_then(|text| text.parse::<Ctid>().ok()),
            "-v" | "--set-var" => env.extend(rest.next().and_then(|pair| pair.split_once('='))),
            "--clear-env" => {}
            "--" => {
                inside.extend(rest.by_ref());
            }
            other => {
                return Err(Failure::new(
                    1,
                    format!("lxc-attach: the stand-in does not know {other}"),
                ));
            }
        }
    }
    let ctid = ctid.ok_or_else(|| Failure::new(1, "lxc-attach: no container"))?;
    if node.init(ctid).is_none() {
        let text = format!(
            "lxc-attach: {ctid}: ../src/lxc/attach.c: get_attach_context: 405 Connection refused - Failed to get init pid"
        );
        return Err(Failure::new(1, text));
    }
    enter(node, call, ctid, &inside, &env)
}

pub fn info(node: &Node, words: &[&str]) -> Outcome {
    let id = words.iter().skip_while(|word| **word != "-n").nth(1);
    let ctid: Ctid = id
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Failure::new(1, "lxc-info: no container"))?;
    if node.read(ctid).is_err() {
        return Err(Failure::new(1, format!("{ctid} doesn't exist")));
    }
    let state = if node.init(ctid).is_some() {
        "RUNNING"
    } else {
        "STOPPED"
    };
    println!("{:<16}{state}", "State:");
    if let (true, Some(pid)) = (words.contains(&"-p"), node.init(ctid)) {
        println!("{:<16}{pid}", "PID:");
    }
    Ok(())
}

pub fn push(node: &Node, call: &Call, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    node.read(ctid)?;
    if node.init(ctid).is_none() {
        return Err(Failure::new(255, "can only push files to a running CT"));
    }
    let (from, to) = (options.argument(1), options.argument(2));
    let Ok(content) = fs::read(from) else {
        eprintln!("failed to open {from} for reading");
        return Ok(());
    };
    let path = node
        .rootfs(ctid)
        .expect("a root disk")
        .join(to.trim_start_matches('/'));
    if let Err(error) = fs::write(&path, content) {
        let text = error.to_string();
        eprintln!(
            "failed to create file: {to}: {}",
            text.split(" (os").next().unwrap_or_default()
        );
        return Ok(());
    }
    let number = |name: &str| options.get(name).and_then(|text| text.parse().ok());
    let _ = chown(&path, number("user"), number("group"));
    if let Some(mode) = options
        .get("perms")
        .and_then(|text| u32::from_str_radix(text, 8).ok())
    {
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(mode));
    }
    call.effect(node, "push", &format!("{ctid} {to}"));
    Ok(())
}

pub fn pull(node: &Node, options: &Options) -> Outcome {
    let ctid = options.ctid()?;
    node.read(ctid)?;
    if node.init(ctid).is_none() {
        let text =
            "can only pull files from a running VM at /usr/share/perl5/PVE/CLI/pct.pm line 657.";
        return Err(Failure::new(255, text));
    }
    let (from, to) = (options.argument(1), options.argument(2));
    let path = node
        .rootfs(ctid)
        .expect("a root disk")
        .join(from.trim_start_matches('/'));
    let Ok(content) = fs::read(path) else {
        eprintln!("failed to open {from}: No such file or directory");
        return Ok(());
    };
    if fs::write(to, content).is_err() {
        eprintln!("failed to create file: {to}: No such file or directory");
    }
    Ok(())
}
