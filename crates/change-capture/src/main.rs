//! change-capture as Lambda starts it: settings in, ports wired, every event to [`handle`].

use std::process::ExitCode;

use freshjoin_aws::bootstrap;
use freshjoin_change_capture::{ChangeCapture, handle};
use freshjoin_core::settings::{CaptureSettings, STATE};

fn main() -> ExitCode {
    bootstrap::main(CaptureSettings::read, async |settings, aws| {
        let direct = settings.direct_flags.map(|stream| aws.stream(&stream));
        let capture = ChangeCapture::new(aws.store(STATE, &settings.state)?, aws.tables(), aws.clock(), direct);
        aws.serve(async |event, deadline| handle(event, &capture, deadline).await).await
    })
}
