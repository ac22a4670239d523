import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ensureDirectory, writeFileAtomic } from '../../lib/files.ts';
import type { JobState } from '../../lib/job-states.ts';
import type { CauseCode } from '../../lib/job-causes.ts';
import type { JobDefinitionInput } from '../../lib/protocol/job.ts';
import type { JobReport } from '../client/wait.ts';
import { memoryScript, mergeScript, submitScript, sumScript } from './payloads.ts';

/** One job of the demo: what it is, how it must end, and what that proves. */
export interface DemoJob {
  definition: JobDefinitionInput;
  expect: { state: JobState; cause?: CauseCode };
  proves: string;
  /** Looks at the accepted result; returns what is wrong, or nothing. */
  check?: (report: JobReport) => Promise<string | undefined>;
}

const SLICES = 8;
const LINES_PER_SLICE = 50_000;

export interface Workload {
  first: DemoJob[];
  /** Made of the partial results of `first`. */
  merge: (reports: readonly JobReport[]) => DemoJob;
}

/**
 * Writes the input files of the demo below `directory` and describes its jobs: a sum over eight slices and its merge,
 * with a result computed here another way, and four jobs that must not end well.
 */
export async function makeWorkload(options: {
  directory: string;
  vo: string;
  queue: string;
  outputUrl: string;
  nodeBinary: string;
}): Promise<Workload> {
  const { directory } = options;
  await ensureDirectory(directory);
  const input = async (name: string, text: string) => {
    const path = join(directory, name);
    await writeFileAtomic(path, text);
    return {
      name,
      url: pathToFileURL(path).href,
      sha256: createHash('sha256').update(text).digest('hex'),
      bytes: Buffer.byteLength(text),
    };
  };
  const base = { vo: options.vo, queue: options.queue, group: 'demo', outputUrl: options.outputUrl };
  const sum = await input('sum.sh', sumScript);
  const merge = await input('merge.sh', mergeScript);
  const expected = { count: 0n, sum: 0n, squares: 0n };
  const split: DemoJob[] = [];
  for (let slice = 1; slice <= SLICES; slice += 1) {
    const numbers = sliceNumbers(slice);
    for (const number of numbers) {
      expected.count += 1n;
      expected.sum += BigInt(number);
      expected.squares = (expected.squares + BigInt(number) ** 2n) % 1_000_003n;
    }
    split.push({
      definition: {
        ...base,
        name: `sum-${slice}`,
        command: ['sh', 'sum.sh', `slice-${slice}.txt`],
        inputs: [sum, await input(`slice-${slice}.txt`, numbers.join('\n') + '\n')],
        outputs: [{ name: 'partial.txt' }],
      },
      expect: { state: 'finished' },
      proves: 'inputs arrived whole (sha256), the payload ran, its output was kept',
    });
  }
  return {
    first: [...split, ...(await hardCases(base, options, input))],
    merge: reports => ({
      definition: {
        ...base,
        name: 'merge',
        command: ['sh', 'merge.sh', ...reports.map((_, index) => `partial-${index + 1}.txt`)],
        inputs: [merge, ...reports.map((report, index) => partialOf(report, index + 1))],
        outputs: [{ name: 'total.txt' }],
      },
      expect: { state: 'finished' },
      proves: `the merged result is right: ${expected.count} ${expected.sum} ${expected.squares}`,
      check: async report => {
        const found = (await readOutput(report, 'total.txt')).trim();
        const wanted = `${expected.count} ${expected.sum} ${expected.squares}`;
        return found === wanted ? undefined : `the merged result is ${found}, expected ${wanted}`;
      },
    }),
  };
}

type Input = (name: string, text: string) => Promise<NonNullable<JobDefinitionInput['inputs']>[number]>;
type Base = Pick<JobDefinitionInput, 'vo' | 'queue' | 'group' | 'outputUrl'>;

async function hardCases(base: Base, options: { nodeBinary: string }, input: Input): Promise<DemoJob[]> {
  return [
    {
      definition: { ...base, name: 'fails', command: ['sh', '-c', 'echo "no such calibration" >&2; exit 7'] },
      expect: { state: 'failed', cause: 'PAYLOAD_EXIT' },
      proves: "a payload's own failure is reported with its exit code and not retried",
    },
    {
      definition: { ...base, name: 'over-walltime', command: ['sleep', '300'], limits: { wallSeconds: 2 } },
      expect: { state: 'failed', cause: 'WALLTIME_EXCEEDED' },
      proves: 'a payload over its wall-clock limit is ended, with all its processes',
    },
    {
      definition: {
        ...base,
        name: 'over-memory',
        command: ['sh', 'grow.sh'],
        inputs: [await input('grow.sh', memoryScript)],
        limits: { memoryBytes: 96 << 20, wallSeconds: 120 },
      },
      expect: { state: 'failed', cause: 'MEMORY_EXCEEDED' },
      proves: 'a payload over its memory limit is ended, and the record says how much it used',
    },
    {
      definition: {
        ...base,
        name: 'submits-a-job',
        command: [options.nodeBinary, 'inside.mjs', base.vo, base.queue],
        inputs: [await input('inside.mjs', submitScript)],
        outputs: [{ name: 'answers.json' }],
      },
      expect: { state: 'finished' },
      proves: 'no payload launches a job: every try was refused, by a named rule',
      check: checkRefusals,
    },
  ];
}

interface Answers {
  answers: { what: string; status: number; code?: string; rule?: string }[];
  secretFound: boolean;
}

async function checkRefusals(report: JobReport): Promise<string | undefined> {
  const { answers, secretFound } = JSON.parse(await readOutput(report, 'answers.json')) as Answers;
  const [first] = answers;
  if (first?.code !== 'E_PAYLOAD_CREDENTIAL' || !first.rule) {
    return `the payload's submission was answered ${first?.status} ${first?.code}, expected E_PAYLOAD_CREDENTIAL with its rule`;
  }
  const open = answers.find(({ status }) => status !== 401 && status !== 403);
  if (open) return `"${open.what}" was answered ${open.status}`;
  return secretFound ? "the payload found the pilot's one-time secret" : undefined;
}

/** The rule that refused the payload's submission, for the table. */
export async function refusalRule(report: JobReport): Promise<string> {
  const { answers } = JSON.parse(await readOutput(report, 'answers.json')) as Answers;
  return `${answers[0]?.code} by rule ${answers[0]?.rule}`;
}

/** Numbers of a slice: a linear congruential generator, so that every machine makes the same ones. */
function sliceNumbers(slice: number): number[] {
  let state = slice * 7919;
  return Array.from({ length: LINES_PER_SLICE }, () => {
    state = (state * 1_103_515 + 12_345) % 2_147_483_648;
    return state % 1_000_000;
  });
}

function partialOf(report: JobReport, number: number) {
  const { url, sha256, bytes } = outputOf(report, 'partial.txt');
  return { name: `partial-${number}.txt`, url, sha256, bytes };
}

function outputOf(report: JobReport, name: string) {
  const accepted = report.attempts.find(({ attemptId }) => attemptId === report.job.acceptedAttemptId);
  const output = accepted?.outputs.find(candidate => candidate.name === name);
  if (!output) throw new Error(`job ${report.job.name} has no accepted output ${name}`);
  return output;
}

/** Reads an accepted output and holds it against the sha256 of the record. */
async function readOutput(report: JobReport, name: string): Promise<string> {
  const output = outputOf(report, name);
  const text = await readFile(fileURLToPath(output.url), 'utf8');
  const found = createHash('sha256').update(text).digest('hex');
  if (found !== output.sha256)
    throw new Error(
      `output ${name} of ${report.job.name} has sha256 ${found}, the record says ${output.sha256}`,
    );
  return text;
}
