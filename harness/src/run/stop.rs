//! Has somebody asked the run to stop? One flag that every wait of the run also listens to.

use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

/// A request to stop that many threads can wait for at once.
#[derive(Clone, Debug)]
pub struct Stop {
    // Nothing is ever sent: dropping the only sender wakes every receiver.
    sender: Arc<Mutex<Option<Sender<()>>>>,
    receiver: Receiver<()>,
}

impl Default for Stop {
    fn default() -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(0);
        Stop { sender: Arc::new(Mutex::new(Some(sender))), receiver }
    }
}

impl Stop {
    /// Asks everybody to stop. Asking again changes nothing.
    pub fn stop(&self) {
        if let Ok(mut sender) = self.sender.lock() {
            *sender = None;
        }
    }

    /// Whether somebody has asked.
    pub fn is_stopped(&self) -> bool {
        self.receiver.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Becomes ready (as disconnected) when somebody asks; for `select!`.
    pub fn stopped(&self) -> &Receiver<()> {
        &self.receiver
    }
}
