import { createLog } from '../../../lib/log.ts';
import { AutopilotConfig } from '../../../autopilot/config/schema.ts';
import { runAutopilot } from '../../../autopilot/run-autopilot.ts';

/** An autopilot in a process of its own that ends itself with SIGKILL at the nth passing of a checkpoint. */
const given = JSON.parse(process.argv[2]!) as {
  config: Record<string, unknown>;
  wrapper: string;
  killAt?: string;
  killCount?: number;
};
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
let passed = 0;
await runAutopilot({
  config: AutopilotConfig.parse(given.config),
  wrapper: given.wrapper,
  log: createLog('autopilot', 'warn'),
  signal: stop.signal,
  env: process.env,
  once: false,
  drain: false,
  onReady: () => process.stdout.write('ready\n'),
  checkpoint: name => {
    if (name !== given.killAt) return;
    passed += 1;
    if (passed === (given.killCount ?? 1)) process.kill(process.pid, 'SIGKILL');
  },
});
