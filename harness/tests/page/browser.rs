//! A headless Chromium that a test drives: by the DevTools protocol, over two pipes.
//!
//! `--remote-debugging-pipe` has the browser read commands from fd 3 and write answers to fd 4, each a JSON text that ends
//! with a zero byte; so neither a driver, nor a port, nor a web socket is needed.
//!
//! Source: <https://chromedevtools.github.io/devtools-protocol/>.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Says which browser to take; with it a browser that can't be started is a failure and no skip.
pub(crate) const CHOICE: &str = "HANDOVER_BROWSER";

/// What a Chromium is called, depending on who packaged it.
const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// So long the browser may take for anything that it is asked.
const WITHIN: Duration = Duration::from_secs(60);

/// A running browser; it ends when this is dropped.
pub(crate) struct Browser {
    process: Child,
    commands: RefCell<ChildStdin>,
    answers: Receiver<Value>,
    events: RefCell<Vec<Value>>,
    last: Cell<u64>,
    _profile: tempfile::TempDir,
}

/// A tab of it.
pub(crate) struct Tab<'b> {
    browser: &'b Browser,
    session: String,
}

/// The browser that there is.
///
/// # Errors
/// Says where it was looked for.
pub(crate) fn find() -> Result<PathBuf, String> {
    if let Some(chosen) = std::env::var_os(CHOICE).filter(|chosen| !chosen.is_empty()) {
        return Ok(chosen.into());
    }
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let candidates = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        format!(
            "no browser: none of {} is in PATH (Debian: apt-get install chromium); {CHOICE} names another",
            NAMES.join(", ")
        )
    })
}

impl Browser {
    /// Starts `program`.
    ///
    /// # Panics
    /// It does not start, or does not answer.
    pub(crate) fn start(program: &Path) -> Browser {
        let profile = tempfile::tempdir().unwrap();
        // The shell moves the pipes to where the browser looks for them.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null"]).arg(program);
        command.args(["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--window-size=1400,900"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        if rustix::process::geteuid().is_root() {
            // Its own sandbox refuses root, as which CI runs; the only page that it opens is ours.
            command.arg("--no-sandbox");
        }
        command.arg("about:blank").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let (commands, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap_or(Value::Null);
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let (commands, events) = (RefCell::new(commands), RefCell::default());
        let browser = Browser { process, commands, answers, events, last: Cell::new(0), _profile: profile };
        browser.call(None, "Browser.getVersion", json!({}));
        browser
    }

    /// A new tab, with nothing in it.
    pub(crate) fn tab(&self) -> Tab<'_> {
        let target = self.call(None, "Target.createTarget", json!({ "url": "about:blank" }));
        let asked = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", asked)["sessionId"].as_str().unwrap().to_owned();
        let tab = Tab { browser: self, session };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        tab
    }

    fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let id = self.last.get() + 1;
        self.last.set(id);
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = session.into();
        }
        let mut bytes = serde_json::to_vec(&command).unwrap();
        bytes.push(0);
        let sent = self.commands.borrow_mut().write_all(&bytes);
        sent.unwrap_or_else(|error| panic!("the browser has ended: {error}"));
        let until = Instant::now() + WITHIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let message = self.answers.recv_timeout(left);
            let message = message.unwrap_or_else(|error| panic!("no answer of the browser to {method}: {error}"));
            if message["id"] != json!(id) {
                self.events.borrow_mut().push(message);
                continue;
            }
            assert!(message["error"].is_null(), "{method}: {}", message["error"]);
            return message["result"].clone();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let close = b"{\"id\":0,\"method\":\"Browser.close\"}\0";
        let _ = self.commands.borrow_mut().write_all(close);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tab<'_> {
    fn call(&self, method: &str, params: Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    /// Opens `url`, and waits until `ready` holds; returns how long that took.
    pub(crate) fn open(&self, url: &str, ready: &str) -> Duration {
        let began = Instant::now();
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        self.wait_for(ready);
        began.elapsed()
    }

    /// What `expression` is in the page.
    pub(crate) fn eval(&self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let done = self.call("Runtime.evaluate", asked);
        assert!(done["exceptionDetails"].is_null(), "{expression}: {}", done["exceptionDetails"]);
        done["result"]["value"].clone()
    }

    /// Waits until `condition` is true in the page.
    pub(crate) fn wait_for(&self, condition: &str) {
        let until = Instant::now() + WITHIN;
        while self.eval(condition) != json!(true) {
            assert!(Instant::now() < until, "the page never came to: {condition}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Clicks in the middle of what `selector` finds first, as a mouse does.
    pub(crate) fn click(&self, selector: &str) {
        let place = self.eval(&format!(
            "(() => {{ const found = document.querySelector({});
                if (!found) return null;
                found.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const box = found.getBoundingClientRect();
                return [box.left + box.width / 2, box.top + box.height / 2]; }})()",
            json!(selector)
        ));
        assert!(!place.is_null(), "nothing to click: {selector}");
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": button, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses a key by its name: `a`, `/`, `Enter`, `ArrowDown`.
    pub(crate) fn press(&self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "Tab" => (9, ""),
            "End" => (35, ""),
            "Home" => (36, ""),
            "ArrowLeft" => (37, ""),
            "ArrowUp" => (38, ""),
            "ArrowRight" => (39, ""),
            "ArrowDown" => (40, ""),
            one => (one.to_ascii_uppercase().bytes().next().unwrap_or(0).into(), one),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Types a text, letter by letter.
    pub(crate) fn write(&self, text: &str) {
        text.chars().for_each(|letter| self.press(&letter.to_string()));
    }

    /// Gives the page so many CSS pixels.
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let asked = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", asked);
    }

    /// Has the page believe that its reader likes it `dark` or `light`.
    pub(crate) fn prefer(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// The page as it is seen, as a PNG.
    pub(crate) fn screenshot(&self) -> Vec<u8> {
        use base64::Engine as _;
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        base64::engine::general_purpose::STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()
    }

    /// The URLs that the page has asked for since it was opened, and what went wrong in it.
    pub(crate) fn requests_and_errors(&self) -> (Vec<String>, Vec<String>) {
        // Whatever has happened by now has been reported before this answer.
        self.eval("1");
        let events = self.browser.events.borrow();
        let own = events.iter().filter(|event| event["sessionId"] == json!(self.session));
        let (mut requests, mut errors) = (Vec::new(), Vec::new());
        for event in own {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or("") {
                "Network.requestWillBeSent" => {
                    requests.push(params["request"]["url"].as_str().unwrap_or("").to_owned());
                }
                "Runtime.exceptionThrown" => errors.push(params["exceptionDetails"].to_string()),
                "Log.entryAdded" => errors.push(params["entry"].to_string()),
                "Runtime.consoleAPICalled" => errors.push(params["args"].to_string()),
                _ => {}
            }
        }
        (requests, errors)
    }
}
