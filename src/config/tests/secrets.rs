//! Which values of the files are secret.

use super::written;
use crate::domain::secret::Secrets;

/// The secrets of a container with this member.
fn of(member: &str) -> Secrets {
    let lxc = format!("{{\"lxc_configs\":{{\"101\":{{\"name\":\"web-server\",{member}}}}}}}");
    written(&lxc, "{}", None).1.desired.secrets
}

#[test]
fn secrets_are_found_wherever_they_are() {
    for member in [
        r#""password": "hunter22""#,
        r#""a": {"b": [{"dbPassword": "hunter22"}]}"#,
        r#""a": {"credentials": {"x": ["hunter22"]}}"#,
        r#""p\u0061ss": "hunter22""#,
        r#""secrets": ["a.b[1]"], "a": {"b": ["x", "hunter22"]}"#,
        r#""secrets": ["a"], "a": {"b": ["hunter22", 5000]}"#,
        r#""env": {"X": "hunter22"}"#,
        r#""docker_env": ["X=hunter22"]"#,
        r#""x": "--api-key hunter22""#,
        r#""x": ["--api-key", "hunter22"]"#,
        r#""x": ["--token=hunter22"]"#,
        r#""x": {"y": "https://u:hunter22@h/"}"#,
        r#""lxc_options": ["lxc.environment = A=hunter22"]"#,
        r#""lxc_options": ["lxc.mount.entry: //s/a b cifs password=hunter22,ro 0 0"]"#,
        r#""health_check": {"shell": "curl -H 'X-Api-Key: hunter22' x"}"#,
        r#""bootstrap_ca_url": "https://u:hunter22@ca""#,
        r#""password": "hunter22", "password": "another-one""#,
    ] {
        assert_eq!(of(member).scrub("a hunter22 b"), "a *** b", "{member}");
    }
    let numbers = of(r#""token": 12345678"#);
    assert_eq!(numbers.scrub("12345678"), "***");
}

#[test]
fn secrets_of_the_other_files_are_found() {
    let lxc = r#"{"lxc_configs":{"x":{"token":"of-no-id"}},"token":"at-the-top","secrets":["a"],"a":"marked"}"#;
    let host =
        r#"{"users":{"api_token":"of-the-host"},"secrets":["samba.x"],"samba":{"x":"y-marked"}}"#;
    let vms = r#"{"vms":[{"vmid":8000,"cipassword":"of-a-machine"}]}"#;
    let (_dir, loaded) = written(lxc, host, Some(vms));
    for value in [
        "of-no-id",
        "at-the-top",
        "marked",
        "of-the-host",
        "y-marked",
        "of-a-machine",
    ] {
        assert_eq!(loaded.desired.secrets.scrub(value), "***", "{value}");
    }
}

#[test]
fn what_is_no_secret_is_none() {
    for member in [
        r#""memory_mb": 2048"#,
        r#""public_key": "hunter22""#,
        r#""max_tokens": 1000000"#,
        r#""password_file": "hunter22""#,
        r#""password": "short""#,
        r#""password": true"#,
        r#""env": {"LANG": "hunter22", "PORT": "123456", "NAME": "web-server"}"#,
        r#""pct_options": ["keyctl=1"]"#,
        r#""x": "--api-key $HUNTER22""#,
        r#""x": "the password of hunter22""#,
        r#""secrets": ["nothing.there"]"#,
    ] {
        assert!(of(member).is_empty(), "{member}");
    }
}
