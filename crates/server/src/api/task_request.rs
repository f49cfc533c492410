//! A task as a user asks for it, checked field by field and turned into what is stored.

use std::time::Duration;

use legwork_contract::input::{InputError, validate_input, validate_task_type};
use legwork_core::spec::{ExecutorLimits, Input, InputProperty, LostRunnerPolicy, Network};
use legwork_core::{TaskSpec, limits};
use legwork_protocol::api::{CreateTask, LostRunner, TaskInput};
use legwork_protocol::duration::HumanDuration;
use legwork_protocol::error::ErrorCode;

use crate::error::{ApiError, ApiResult};

const IMAGE_LENGTH: usize = 512;
const TYPE_LENGTH: usize = 256;
const TITLE_LENGTH: usize = 256;
const MEMORY_LEAST: u64 = 6 * 1024 * 1024;
const CPUS_MOST: f64 = 1_024.0;
const PIDS_MOST: u32 = 1_000_000;
const TIMEOUT_MOST: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The task and its values, or the first field that is wrong.
pub(crate) fn check(asked: CreateTask) -> ApiResult<(TaskSpec, Input)> {
    text("image", &asked.image, IMAGE_LENGTH)?;
    if asked.image.contains(char::is_whitespace) {
        return Err(ApiError::invalid("image", "image: a container image's name has no blanks"));
    }
    text("type", &asked.task_type, TYPE_LENGTH)?;
    validate_task_type(&asked.task_type).map_err(|error| ApiError::invalid("type", format!("type: {error}")))?;
    if let Some(title) = &asked.title {
        text("title", title, TITLE_LENGTH)?;
    }
    let input = input(asked.inputs)?;
    for (index, name) in asked.outputs.iter().enumerate() {
        text(&format!("outputs[{index}]"), name, limits::PROPERTY_NAME_LENGTH)?;
    }
    at_most("outputs", asked.outputs.len() as u64, limits::PROPERTIES as u64, "names")?;
    at_most("capabilities", asked.capabilities.0.len() as u64, limits::CAPABILITIES as u64, "labels")?;
    if !(-1_000..=1_000).contains(&asked.priority) {
        return Err(ApiError::invalid("priority", "priority: it must be from -1000 to 1000"));
    }
    at_most("retries", u64::from(asked.retries), u64::from(limits::RETRIES), "retries")?;

    let abort_timeout = asked.abort_timeout.map_or(limits::ABORT_TIMEOUT, |given| given.0);
    if abort_timeout > limits::ABORT_TIMEOUT_MAX {
        let most = HumanDuration(limits::ABORT_TIMEOUT_MAX);
        return Err(ApiError::invalid("abort_timeout", format!("abort_timeout: it can be at most {most}")));
    }
    let mut spec = TaskSpec::new(asked.image, asked.task_type);
    if let Some(title) = asked.title {
        spec.title = title;
    }
    spec.capabilities = asked.capabilities;
    spec.priority = asked.priority;
    spec.abort_timeout = abort_timeout;
    spec.run_timeout = timeout("run_timeout", asked.run_timeout)?;
    spec.queue_timeout = timeout("queue_timeout", asked.queue_timeout)?;
    spec.retries = asked.retries;
    spec.lost_runner = lost_runner(asked.lost_runner)?;
    spec.limits = executor_limits(asked.memory_bytes, asked.cpus, asked.pids)?;
    spec.network = asked.network.unwrap_or(Network::Outbound);
    spec.read_only_root = asked.read_only_root;
    spec.log_limit = asked.log_limit_bytes.unwrap_or(limits::LOG_BYTES);
    at_most("log_limit_bytes", spec.log_limit, limits::LOG_BYTES_MAX, "bytes")?;
    spec.outputs = asked.outputs;
    Ok((spec, input))
}

/// The values, as the plugin contract allows them.
fn input(inputs: Vec<TaskInput>) -> ApiResult<Input> {
    let properties = inputs.into_iter().map(|input| {
        let kind = input.kind.unwrap_or_else(|| InputProperty::kind_of(&input.value).to_owned());
        InputProperty { name: input.name, value: input.value, kind, password: input.secret }
    });
    let input = Input { properties: properties.collect() };
    match validate_input(&input) {
        Ok(()) => Ok(input),
        Err(error) => {
            let code = if matches!(error, InputError::TooLarge { .. }) { ErrorCode::TooLarge } else { ErrorCode::Invalid };
            let field = field_of(&error, &input.properties);
            Err(ApiError::new(code, format!("{field}: {error}")).in_field(field))
        }
    }
}

/// The place in the request of what the contract refuses.
fn field_of(error: &InputError, properties: &[InputProperty]) -> String {
    let at = |path: &str| {
        properties.iter().rposition(|property| {
            path.strip_prefix(property.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    };
    let bad_name = |property: &InputProperty| {
        let name = &property.name;
        name.is_empty() || name.len() > limits::PROPERTY_NAME_LENGTH || name.contains(char::is_control)
    };
    let (index, part) = match error {
        InputError::TaskType { .. } => return "type".to_owned(),
        InputError::TooMany { .. } | InputError::TooLarge { .. } => return "inputs".to_owned(),
        InputError::Name { property, .. } => match properties.iter().position(bad_name) {
            Some(index) => (Some(index), "name"),
            None => (at(property), "value"),
        },
        InputError::Duplicate { property } => {
            let part = if properties.iter().any(|known| known.name == *property) { "name" } else { "value" };
            (at(property), part)
        }
        InputError::Kind { property, .. } => (at(property), "kind"),
        InputError::Value { property, .. } => (at(property), "value"),
    };
    index.map_or_else(|| "inputs".to_owned(), |index| format!("inputs[{index}].{part}"))
}

fn text(field: &str, value: &str, most: usize) -> ApiResult<()> {
    if value.is_empty() {
        return Err(ApiError::invalid(field, format!("{field}: it must not be empty")));
    }
    if value.contains(char::is_control) {
        return Err(ApiError::invalid(field, format!("{field}: it must have no control characters")));
    }
    at_most(field, value.len() as u64, most as u64, "bytes")
}

fn at_most(field: &str, value: u64, most: u64, unit: &str) -> ApiResult<()> {
    if value > most {
        return Err(ApiError::invalid(field, format!("{field}: {value} {unit} are over the limit of {most}")));
    }
    Ok(())
}

fn timeout(field: &str, given: Option<HumanDuration>) -> ApiResult<Option<Duration>> {
    let Some(HumanDuration(duration)) = given else { return Ok(None) };
    if duration.is_zero() || duration > TIMEOUT_MOST {
        return Err(ApiError::invalid(field, format!("{field}: it must be over 0s and at most 366d")));
    }
    Ok(Some(duration))
}

fn lost_runner(given: Option<LostRunner>) -> ApiResult<LostRunnerPolicy> {
    let after = |after: HumanDuration| timeout("lost_runner.after", Some(after)).map(|after| after.unwrap_or(limits::SILENCE));
    Ok(match given {
        None | Some(LostRunner::Wait) => LostRunnerPolicy::Wait,
        Some(LostRunner::Fail { after: given }) => LostRunnerPolicy::Fail { after: after(given)? },
        Some(LostRunner::RunElsewhere { after: given }) => LostRunnerPolicy::RunElsewhere { after: after(given)? },
    })
}

fn executor_limits(memory_bytes: Option<u64>, cpus: Option<f64>, pids: Option<u32>) -> ApiResult<ExecutorLimits> {
    let defaults = ExecutorLimits::default();
    let memory_bytes = memory_bytes.unwrap_or(defaults.memory_bytes);
    if memory_bytes < MEMORY_LEAST || memory_bytes > i64::MAX.unsigned_abs() {
        return Err(ApiError::invalid("memory_bytes", format!("memory_bytes: it must be at least {MEMORY_LEAST}")));
    }
    let milli_cpus = match cpus {
        None => None,
        Some(cpus) if (0.001..=CPUS_MOST).contains(&cpus) => Some((cpus * 1_000.0).round() as u32),
        Some(_) => return Err(ApiError::invalid("cpus", "cpus: it must be from 0.001 to 1024")),
    };
    let pids = pids.unwrap_or(defaults.pids);
    if !(1..=PIDS_MOST).contains(&pids) {
        return Err(ApiError::invalid("pids", format!("pids: it must be from 1 to {PIDS_MOST}")));
    }
    Ok(ExecutorLimits { memory_bytes, milli_cpus, pids })
}
