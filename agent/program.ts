import { dirname, resolve } from 'node:path';
import { formatError, PilotageError } from '../lib/errors.ts';
import { systemClock } from '../lib/clock.ts';
import { loadConfig } from '../lib/config.ts';
import { createLog } from '../lib/log.ts';
import { readBootstrap, readVerified } from './bootstrap-file.ts';
import { AgentConfig } from './config/schema.ts';
import { runAgent } from './run-agent.ts';
import type { AgentSummary } from './run-agent.ts';

/** Exit codes of the pilot; the wrapper passes them on. */
export const agentExitCodes = {
  worked: 0,
  failed: 1,
  badBootstrap: 2,
  noServer: 4,
  refused: 5,
  unfit: 6,
} as const;

export interface ProgramOptions {
  bootstrapFile: string;
  verifiedFile?: string | undefined;
  /** Settings by flag, as text or typed; checked against the schema. */
  flags: Record<string, unknown>;
  /** The store of this node: PILOTAGE_STORE. */
  storeDirectory?: string | undefined;
  stopping: AbortSignal;
  hurry: AbortSignal;
}

/**
 * `agent run`: reads what the wrapper and the autopilot left, runs the pilot, prints its summary line.
 *
 * @returns the exit code; errors are told on stderr, as JSON log and as text.
 */
export async function runProgram(options: ProgramOptions): Promise<number> {
  const log = createLog('agent');
  try {
    const bootstrapFile = resolve(options.bootstrapFile);
    const bootstrap = await readBootstrap(bootstrapFile);
    const verified =
      options.verifiedFile === undefined ? null : await readVerified(resolve(options.verifiedFile));
    const config = await loadConfig({
      schema: AgentConfig,
      given: { where: `${bootstrapFile}, agent`, values: bootstrap.agent },
      envPrefix: 'PILOTAGE_AGENT_',
      flags: options.flags,
    });
    const summary = await runAgent({
      bootstrap,
      bootstrapFile,
      verified,
      sandbox: dirname(bootstrapFile),
      storeDirectory: options.storeDirectory,
      config: config.value,
      stopping: options.stopping,
      hurry: options.hurry,
      clock: systemClock,
      log: log.child({ instance: bootstrap.instance, submissionId: bootstrap.submissionId }),
    });
    printSummary(summary);
    return exitCodeOfSummary(summary);
  } catch (error) {
    const exitCode = options.stopping.aborted ? agentExitCodes.worked : exitCodeOfError(error);
    if (exitCode === agentExitCodes.worked) {
      log.info('ended before it had enrolled');
    } else {
      log.fatal({ err: error }, 'the pilot ends');
      process.stderr.write(`${formatError(error)}\n`);
    }
    printSummary({
      pilotId: null,
      jobs: 0,
      finished: 0,
      failed: 0,
      cancelled: 0,
      returned: 0,
      dropped: 0,
      reason: reasonOf(exitCode),
      seconds: Math.round(process.uptime() * 1000) / 1000,
    });
    return exitCode;
  }
}

function exitCodeOfSummary(summary: AgentSummary): number {
  if (summary.reason === 'refused') return agentExitCodes.refused;
  if (summary.reason === 'unfit') return agentExitCodes.unfit;
  return summary.reason === 'unreachable' && summary.jobs === 0
    ? agentExitCodes.noServer
    : agentExitCodes.worked;
}

function exitCodeOfError(error: unknown): number {
  if (!(error instanceof PilotageError)) return agentExitCodes.failed;
  if (/^E_(BOOTSTRAP_INVALID|CONFIG_)/.test(error.code)) return agentExitCodes.badBootstrap;
  if (error.code === 'E_ENROLMENT_REFUSED') return agentExitCodes.refused;
  if (error.code === 'E_NODE_UNFIT') return agentExitCodes.unfit;
  return /^E_(UNREACHABLE|TIMEOUT|NOT_READY|DRAINING|OVERLOADED|STEP_STUCK)$/.test(error.code)
    ? agentExitCodes.noServer
    : agentExitCodes.failed;
}

function reasonOf(exitCode: number): AgentSummary['reason'] {
  if (exitCode === agentExitCodes.worked) return 'terminated';
  if (exitCode === agentExitCodes.noServer) return 'unreachable';
  if (exitCode === agentExitCodes.refused) return 'refused';
  return exitCode === agentExitCodes.unfit ? 'unfit' : 'failed';
}

/** The line that the wrapper and people look for. */
function printSummary(summary: AgentSummary): void {
  process.stdout.write(`PILOTAGE-AGENT ${JSON.stringify(summary)}\n`);
}
