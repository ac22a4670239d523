import { countStates } from './ledger/count-states.ts';
import { lockHolder } from './ledger/lock.ts';
import { readLedger } from './ledger/open-ledger.ts';
import { latestEnded, livePilots } from './ledger/pilots.ts';
import { lastCycle } from './ledger/record-cycle.ts';
import type { CycleRecord } from './ledger/record-cycle.ts';
import { autopilotError } from './errors.ts';

export interface AutopilotStatus {
  state: string;
  queue: string;
  factory: string;
  running: boolean;
  pid: number | null;
  counts: Record<string, number>;
  lastCycle: CycleRecord | null;
  live: { submissionId: string; batchId: string; state: string; serverState: string | null }[];
  ended: {
    submissionId: string;
    state: string;
    jobsDone: number | null;
    exitCode: number | null;
    resultCode: string | null;
    resultMessage: string | null;
  }[];
}

const SHOWN = 20;

/** What the ledger of a state directory says, also while an autopilot runs on it. @throws E_LEDGER_UNREADABLE. */
export function readStatus(state: string): AutopilotStatus {
  const ledger = readLedger(state);
  if (ledger === null) {
    throw autopilotError({
      code: 'E_LEDGER_UNREADABLE',
      message: 'There is no ledger in this directory.',
      where: state,
      expected: 'the --state directory of an autopilot that has run',
      fix: 'Check the path.',
    });
  }
  try {
    const holder = lockHolder(state);
    return {
      state,
      ...ledger.owner,
      running: holder.held,
      pid: holder.pid,
      counts: countStates(ledger.db),
      lastCycle: lastCycle(ledger.db),
      live: livePilots(ledger.db).map(({ submissionId, batchId, state, serverState }) => ({
        submissionId,
        batchId,
        state,
        serverState,
      })),
      ended: latestEnded(ledger.db, SHOWN).map(row => ({
        submissionId: row.submissionId,
        state: row.state,
        jobsDone: row.jobsDone,
        exitCode: row.exitCode,
        resultCode: row.resultCode,
        resultMessage: row.resultMessage,
      })),
    };
  } finally {
    ledger.close();
  }
}

/** The status for a person: who, how many, what was decided last and why, pilots. */
export function describeStatus(status: AutopilotStatus): string {
  const counts = Object.entries(status.counts).map(([state, pilots]) => `${pilots} ${state}`);
  const lines = [
    `queue ${status.queue}, factory ${status.factory}: ${status.running ? `running, process ${status.pid}` : 'not running'}`,
    `pilots: ${counts.join(', ') || 'none yet'}`,
  ];
  if (status.lastCycle !== null) {
    const { atMs, submitted, reasons, problems } = status.lastCycle;
    lines.push(`last cycle ${new Date(atMs).toISOString()}: ${submitted} submitted`);
    for (const reason of reasons)
      lines.push(`  ${reason.step}: ${reason.in} -> ${reason.out}, ${reason.why}`);
    for (const problem of problems) lines.push(`  problem: ${problem}`);
  }
  for (const pilot of status.live) {
    lines.push(`${pilot.submissionId}  ${pilot.state}  server: ${pilot.serverState ?? 'not asked yet'}`);
  }
  for (const pilot of status.ended) {
    const result = pilot.resultCode === null ? '' : `  ${pilot.resultCode} ${pilot.resultMessage ?? ''}`;
    lines.push(`${pilot.submissionId}  ${pilot.state}  jobs: ${pilot.jobsDone ?? 0}${result}`);
  }
  return lines.join('\n');
}
