//! Runners.

use legwork_core::RunnerId;
use legwork_protocol::api::{EditRunner, Runner};
use reqwest::Method;

use crate::connection::Client;
use crate::error::ClientError;

impl Client {
    /// All runners.
    pub async fn runners(&self) -> Result<Vec<Runner>, ClientError> {
        self.get("runners").await
    }

    /// One runner.
    pub async fn runner(&self, runner: RunnerId) -> Result<Runner, ClientError> {
        self.get(&format!("runners/{runner}")).await
    }

    /// Changes what is given and gives the runner as it is then.
    pub async fn edit_runner(&self, runner: RunnerId, edit: &EditRunner) -> Result<Runner, ClientError> {
        self.send_for(self.request(Method::PATCH, &format!("runners/{runner}")).json(edit)).await
    }

    /// Lets it take work again.
    pub async fn enable_runner(&self, runner: RunnerId) -> Result<(), ClientError> {
        self.act(Method::POST, &format!("runners/{runner}/enable"), None::<&()>).await
    }

    /// Keeps new work from it; what it has goes on.
    pub async fn disable_runner(&self, runner: RunnerId) -> Result<(), ClientError> {
        self.act(Method::POST, &format!("runners/{runner}/disable"), None::<&()>).await
    }

    /// Lets it finish what it has; nothing new comes until it is enabled.
    pub async fn drain_runner(&self, runner: RunnerId) -> Result<(), ClientError> {
        self.act(Method::POST, &format!("runners/{runner}/drain"), None::<&()>).await
    }

    /// Accepts the runner's present process, after a copied store or two processes were noticed.
    pub async fn accept_runner(&self, runner: RunnerId) -> Result<(), ClientError> {
        self.act(Method::POST, &format!("runners/{runner}/accept"), None::<&()>).await
    }

    /// Deletes it: it finishes what it has, wipes its store and exits.
    pub async fn delete_runner(&self, runner: RunnerId) -> Result<(), ClientError> {
        self.act(Method::DELETE, &format!("runners/{runner}"), None::<&()>).await
    }
}
