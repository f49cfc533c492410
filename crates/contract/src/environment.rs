//! The environment variables that a plugin reads (§1.2). An empty one counts as unset.

/// The path of the input file inside the container. If it is set, the plugin works in file mode.
pub const INPUT_LOCATION: &str = "INPUT_LOCATION";
/// The path inside the container that the plugin writes its result to.
pub const OUTPUT_LOCATION: &str = "OUTPUT_LOCATION";
/// The session key of the job, as base64. Without it nothing is encrypted in either direction.
pub const SESSION_KEY: &str = "SESSION_KEY";
/// The URL of the Release server, as plain text.
pub const RELEASE_URL: &str = "RELEASE_URL";
/// The URL that the result is posted to, as base64.
pub const CALLBACK_URL: &str = "CALLBACK_URL";
/// The bare name of the secret that holds the input.
pub const INPUT_CONTEXT_SECRET: &str = "INPUT_CONTEXT_SECRET";
/// Where the result is stored, as `namespace:name:key`.
pub const RESULT_SECRET_NAME: &str = "RESULT_SECRET_NAME";
/// The namespace of the secret that holds the input.
pub const RUNNER_NAMESPACE: &str = "RUNNER_NAMESPACE";
/// [`EXECUTION_MODE_DAEMON`] lets the plugin wait for a further job; with anything else it ends after one.
pub const EXECUTOR_EXECUTION_MODE: &str = "EXECUTOR_EXECUTION_MODE";
/// The value of [`EXECUTOR_EXECUTION_MODE`] that keeps the plugin running.
pub const EXECUTION_MODE_DAEMON: &str = "daemon";
/// Seconds that the plugin's connections for callback and fetching may take to open (Python SDK 26.3 or newer).
pub const HTTP_CONNECT_TIMEOUT: &str = "HTTP_CONNECT_TIMEOUT";
/// Seconds that an answer to callback and fetching may take (Python SDK 26.3 or newer).
pub const HTTP_READ_TIMEOUT: &str = "HTTP_READ_TIMEOUT";
/// The address of the Kubernetes API; the plugin always talks https to it.
pub const KUBERNETES_SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";
/// The port of the Kubernetes API.
pub const KUBERNETES_SERVICE_PORT: &str = "KUBERNETES_SERVICE_PORT";

/// The keys of the secret that a plugin in secret mode reads (§1.4). All must exist; the empty string means none.
pub mod secret_keys {
    /// The session key: base64 text, before Kubernetes' own base64.
    pub const SESSION_KEY: &str = "session-key";
    /// The callback URL: base64 text, before Kubernetes' own base64.
    pub const URL: &str = "url";
    /// The encrypted input, as in the input file.
    pub const INPUT: &str = "input";
    /// The URL to get the encrypted input from if [`INPUT`] is empty: base64 text.
    pub const FETCH_URL: &str = "fetchUrl";
}
