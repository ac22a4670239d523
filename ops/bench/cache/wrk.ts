import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as z from 'zod';
import type { KnownObject } from './known-objects.ts';

const run = promisify(execFile);
const script = fileURLToPath(new URL('check-answers.lua', import.meta.url));

export const CONNECTIONS = 32;

const WrkResult = z.object({
  requests: z.int(),
  seconds: z.number(),
  bytes: z.number(),
  p50Ms: z.number(),
  p99Ms: z.number(),
  wrong: z.int(),
  found: z.string(),
  failed: z.int(),
});
export type WrkResult = z.output<typeof WrkResult>;

export interface Load {
  /** Base URL of the server that is asked. */
  url: string;
  /** What stands in the request line and in Host; a forward proxy is asked for the whole URL. */
  target: string;
  host: string;
  object: KnownObject;
  /** Every answer must say that it came from the cache. */
  mustHit: boolean;
  seconds: number;
  threads: number;
  /** Mean pause before each request of a connection; 0: as fast as it goes. */
  pauseMs: number;
}

/**
 * One slice of load by wrk over keep-alive connections, every answer compared.
 *
 * @throws Error saying what was wrong with the first wrong answer, or how many requests failed.
 */
export async function runWrk(program: string, load: Load): Promise<WrkResult> {
  const { url, target, host, object, mustHit, seconds, threads, pauseMs } = load;
  const command = `-t${threads} -c${CONNECTIONS} -d${seconds}s --timeout 10s -s`.split(' ');
  const { stdout } = await run(
    program,
    [...command, script, url, '--', target, host, object.file, String(mustHit), String(pauseMs)],
    { timeout: (seconds + 60) * 1000, maxBuffer: 1 << 20 },
  );
  return parseWrk(stdout);
}

/** What the script printed at the end of wrk's own output. @throws Error as {@link runWrk}. */
export function parseWrk(stdout: string): WrkResult {
  const line = stdout.split('\n').findLast(text => text.startsWith('{'));
  if (line === undefined) throw new Error(`wrk gave no result: ${stdout.slice(-500)}`);
  const result = WrkResult.parse(JSON.parse(line));
  if (result.wrong > 0) throw new Error(`a wrong answer: ${result.found}`);
  if (result.failed > 0) throw new Error(`${result.failed} of ${result.requests} requests failed`);
  if (result.requests === 0) throw new Error('no request was answered');
  return result;
}
