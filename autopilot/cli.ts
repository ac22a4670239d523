import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { renderWrapper } from '../codecache/bootstrap/render-wrapper.ts';
import { action, print } from '../lib/cli.ts';
import { systemClock } from '../lib/clock.ts';
import { loadConfig } from '../lib/config.ts';
import { readTextBounded } from '../lib/files.ts';
import { createLog } from '../lib/log.ts';
import { Shutdown } from '../lib/shutdown.ts';
import { AutopilotConfig } from './config/schema.ts';
import type { CycleReport } from './cycle/run-cycle.ts';
import { dryRun } from './dry-run.ts';
import { autopilotError } from './errors.ts';
import { openExistingLedger } from './ledger/open-ledger.ts';
import { openEngine } from './open-engine.ts';
import { describePlan } from './plan.ts';
import { describeStatus, readStatus } from './read-status.ts';
import { runAutopilot } from './run-autopilot.ts';
import { statePaths } from './state-directory.ts';
import { stopPilots } from './stop-pilots.ts';

interface RunFlags {
  json?: boolean;
  config?: string;
  once?: boolean;
  dryRun?: boolean;
  drain?: boolean;
  queue?: string;
  engine?: string;
  server?: string[];
  serverCa?: string;
  cert?: string;
  key?: string;
  cache?: string[];
  root?: string;
  state?: string;
  maxPilots?: number;
  cycleSeconds?: number;
}

const waitSeconds = (text: string): number => {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 86_400) return value;
  throw new InvalidArgumentError('Expected a number of seconds from 0 to 86400.');
};

const collect = (value: string, before: string[] = []): string[] => [...before, value];

/** `pilotage autopilot run | status | stop-pilots`. */
export function register(program: Command): void {
  const autopilot = program
    .command('autopilot')
    .description("Keep the right number of pilots on a site's batch system.");
  registerRun(autopilot);
  autopilot
    .command('status')
    .description('What the ledger of an autopilot says: pilots by state, the last decision and its reasons.')
    .requiredOption('--state <dir>', 'state directory of the autopilot')
    .option('--json', 'print JSON')
    .action(
      action<{ json?: boolean; state: string }>(async options => {
        print(readStatus(statePaths(options.state).state), options, describeStatus);
      }),
    );
  autopilot
    .command('stop-pilots')
    .description(
      'Ask all pilots of a stopped autopilot to end; each hands its job back. Ones that have not started never will.',
    )
    .requiredOption('--state <dir>', 'state directory of the autopilot')
    .option('--wait-seconds <n>', 'how long to wait for them', waitSeconds, 60)
    .option('--force', 'end by force those that are left then')
    .option('--json', 'print JSON')
    .action(action(stopAction));
}

function registerRun(autopilot: Command): void {
  autopilot
    .command('run')
    .description(
      'Submit pilots as the server demands, up to a cap. SIGTERM ends it; its pilots go on and a new run finds them.',
    )
    .option('--config <file>', 'YAML or JSON file with any of the settings')
    .option('--queue <name>', 'queue whose pilots are submitted')
    .option('--engine <name>', 'batch system: local')
    .option('--server <url>', 'base URL of a server; may be repeated', collect)
    .option('--server-ca <file>', 'authority that signs the servers, PEM')
    .option('--cert <file>', "this autopilot's certificate chain, PEM")
    .option('--key <file>', 'its key, PEM')
    .option('--cache <url>', 'cache of the code store for the pilots; may be repeated', collect)
    .option('--root <file>', 'root metadata that pilots trust first')
    .option('--state <dir>', 'directory of ledger, sandboxes and logs')
    .option('--max-pilots <n>', 'pilots not known to have ended, at most', Number)
    .option('--cycle-seconds <n>', 'pause between two cycles', Number)
    .option('--once', 'run one cycle and end')
    .option('--dry-run', 'print the plan and its reasons; write and submit nothing')
    .option('--drain', 'at SIGTERM ask the pilots to end, and wait for them')
    .option('--json', 'print JSON')
    .action(action(runAction));
}

async function runAction(flags: RunFlags): Promise<void> {
  const { value: config } = await loadConfig({
    schema: AutopilotConfig,
    file: flags.config,
    envPrefix: 'PILOTAGE_AUTOPILOT_',
    flags: {
      queue: flags.queue,
      engine: flags.engine,
      servers: flags.server,
      serverCa: flags.serverCa,
      cert: flags.cert,
      key: flags.key,
      caches: flags.cache,
      root: flags.root,
      state: flags.state,
      maxPilots: flags.maxPilots,
      cycleSeconds: flags.cycleSeconds,
    },
  });
  const log = createLog('autopilot');
  if (flags.dryRun) {
    print(await dryRun(config, log), flags, plan => `would submit ${plan.submit}: ${describePlan(plan)}`);
    return;
  }
  const wrapper = await renderFrom(config.root);
  const shutdown = new Shutdown({ log, deadlineMs: (config.drainSeconds + 20) * 1000 });
  const run = runAutopilot({
    config,
    wrapper,
    log,
    signal: shutdown.signal,
    env: process.env,
    once: flags.once ?? false,
    drain: flags.drain ?? false,
    onReady: (first, factory) =>
      process.stdout.write(`${JSON.stringify(readyLine(config, factory, first))}\n`),
  });
  shutdown.defer('cycle', () => run);
  shutdown.listen();
  await run;
}

async function renderFrom(root: string): Promise<string> {
  const rootJson = await readTextBounded(root);
  return renderWrapper({ rootJson });
}

const readyLine = (config: AutopilotConfig, factory: string, first: CycleReport) => ({
  ready: true,
  program: 'autopilot',
  pid: process.pid,
  queue: config.queue,
  factory,
  state: statePaths(config.state).state,
  submitted: first.submitted,
  reasons: first.plan.reasons,
  problems: first.problems,
});

async function stopAction(flags: {
  json?: boolean;
  state: string;
  waitSeconds: number;
  force?: boolean;
}): Promise<void> {
  const paths = statePaths(flags.state);
  const status = readStatus(paths.state);
  const ledger = await openExistingLedger(paths.state);
  try {
    const config = AutopilotConfig.pick({ maxPilots: true, local: true }).parse({});
    const engine = await openEngine(config, {
      spool: paths.spool,
      env: process.env,
      log: createLog('autopilot'),
    });
    try {
      const { waitSeconds, force = false } = flags;
      const report = await stopPilots(engine, { waitSeconds, force, clock: systemClock });
      print(report, flags, ({ asked, left }) => `${asked} pilot(s) were asked to end, ${left} are left`);
      if (report.left > 0) throw incomplete(status.state, report, waitSeconds);
    } finally {
      await engine.close();
    }
  } finally {
    ledger?.close();
  }
}

const incomplete = (where: string, { asked, left }: { asked: number; left: number }, waitSeconds: number) =>
  autopilotError({
    code: 'E_DRAIN_INCOMPLETE',
    message: `${left} of ${asked} pilot(s) have not ended within ${waitSeconds} s.`,
    where,
    fix: 'Wait longer with --wait-seconds, or end them with --force.',
  });
