import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request } from 'undici';
import type { Ending } from './temporary.ts';
import { waitUntil } from './wait-until.ts';

/** How the requests of a load ended. */
export interface Tally {
  /** The right bytes, the whole of what was asked for. */
  right: number;
  /** Right answers by path, for waiting until each name was served. */
  rightOf: Map<string, number>;
  /** Whole answers with other bytes, or that say a thing is not there which is: what must never be. */
  wrong: string[];
  /** Answers cut short after bytes that are not those of the object. */
  wrongBegun: string[];
  /** Refused with a status, and the text of it. */
  refused: string[];
  /** No answer, or one cut short after right bytes. */
  cut: string[];
}

export interface Load extends Tally {
  /** Paths that are asked for; may be changed. Those without bytes must be 404. */
  names: Map<string, Buffer | undefined>;
  /** Base URLs of the caches; each request takes any of them. */
  urls: string[];
  /** Ends it and waits for the requests under way. */
  stop(): Promise<void>;
}

/** A whole answer must be here in this time. */
const ANSWER_MS = 20_000;

const newTally = (): Tally => ({
  right: 0,
  rightOf: new Map(),
  wrong: [],
  wrongBegun: [],
  refused: [],
  cut: [],
});

/**
 * Clients that ask for random names all the time, a third of them for a part, some of the metadata past the cache, and compare each
 * answer with the right bytes. They keep their connections. A client that failed waits for a moment, as ours do.
 */
export function startLoad(
  t: Ending,
  options: { urls: string[]; names: Iterable<[string, Buffer | undefined]>; clients: number },
): Load {
  const agent = new Agent({ connections: options.clients, pipelining: 1 });
  const ending = new AbortController();
  const load: Load = {
    ...newTally(),
    urls: options.urls,
    names: new Map(options.names),
    stop: async () => {
      ending.abort();
      await Promise.all(clients);
      await agent.destroy();
    },
  };
  const client = async () => {
    while (!ending.signal.aborted) {
      const [path, body] = pick([...load.names]);
      const failed = load.cut.length + load.refused.length;
      await askOnce(load, agent, `${pick(load.urls)}/${path}`, path, body);
      if (load.cut.length + load.refused.length > failed) await sleep(20 + Math.random() * 60);
    }
  };
  const clients = Array.from({ length: options.clients }, client);
  t.after(() => load.stop());
  return load;
}

/** Waits until each name was served once more than before, by the load that runs. */
export async function eachServed(load: Load): Promise<void> {
  const before = new Map(load.rightOf);
  const missing = () => [...load.names.keys()].filter(path => load.rightOf.get(path) === before.get(path));
  try {
    await waitUntil('each name is served', () => missing().length === 0, { seconds: 20 });
  } catch (error) {
    const last = load.refused.at(-1) ?? load.cut.at(-1) ?? load.wrong.at(-1) ?? '';
    throw new Error(`not served: ${missing().join(', ')}; last failure: ${last}`, { cause: error });
  }
}

export function assertNothingWrong(load: Load): void {
  assert.deepEqual(load.wrong.slice(0, 5), []);
  assert.deepEqual(load.wrongBegun.slice(0, 5), []);
  assert.ok(load.right > 100, `${load.right} answers were compared`);
}

/** Asks for each name once, one after the other, and tells how that ended. */
export async function askEach(
  url: string,
  names: Iterable<[string, Buffer | undefined]>,
  headers: Record<string, string> = {},
): Promise<Tally> {
  const agent = new Agent();
  const tally = newTally();
  for (const [path, body] of names) await ask(tally, agent, { url: `${url}/${path}`, path, body, headers });
  await agent.destroy();
  return tally;
}

/** Each name is served now, whole and right, and what must not be there is not. */
export async function assertServes(
  url: string,
  names: Iterable<[string, Buffer | undefined]>,
  what: string,
): Promise<void> {
  const { wrong, wrongBegun, refused, cut } = await askEach(url, names);
  assert.deepEqual(
    { wrong, wrongBegun, refused, cut },
    { wrong: [], wrongBegun: [], refused: [], cut: [] },
    what,
  );
}

const pick = <T>(list: readonly T[]): T => list[Math.floor(Math.random() * list.length)]!;

async function askOnce(tally: Tally, agent: Agent, url: string, path: string, body: Buffer | undefined) {
  const headers: Record<string, string> = {};
  let part: { start: number; end: number } | undefined;
  if (body !== undefined && path.startsWith('targets/') && Math.random() < 0.33) {
    const start = Math.floor(Math.random() * body.length);
    const end = Math.min(body.length - 1, start + Math.floor(Math.random() * 100_000));
    part = { start, end };
    headers.range = `bytes=${start}-${end}`;
  } else if (path.startsWith('metadata/') && Math.random() < 0.05) headers['cache-control'] = 'no-cache';
  await ask(tally, agent, { url, path, body, headers, ...(part && { part }) });
}

interface Question {
  url: string;
  path: string;
  /** Undefined: it must be 404. */
  body: Buffer | undefined;
  headers: Record<string, string>;
  part?: { start: number; end: number };
}

async function ask(tally: Tally, agent: Agent, { url, path, body, headers, part }: Question): Promise<void> {
  const what = `${path}${headers.range === undefined ? '' : ` ${headers.range}`}`;
  const chunks: Buffer[] = [];
  let status = 0;
  let failure: string | undefined;
  try {
    const signal = AbortSignal.timeout(ANSWER_MS);
    const reply = await request(url, { dispatcher: agent, headers, signal });
    status = reply.statusCode;
    for await (const chunk of reply.body as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch (error) {
    failure = (error as NodeJS.ErrnoException).code ?? String(error);
  }
  const got = Buffer.concat(chunks);
  if (status >= 500) {
    tally.refused.push(`${what}: ${status} ${got.toString('latin1', 0, 500).trim()}`);
    return;
  }
  const expected = part === undefined ? body : body?.subarray(part.start, part.end + 1);
  if (failure !== undefined) {
    const fits = status === 0 || expected?.subarray(0, got.length).equals(got) === true;
    (fits ? tally.cut : tally.wrongBegun).push(`${what}: ${failure} after ${got.length} bytes`);
    return;
  }
  const right =
    expected === undefined
      ? status === 404
      : status === (part === undefined ? 200 : 206) && got.equals(expected);
  if (!right) {
    tally.wrong.push(`${what}: ${status} with ${got.length} bytes`);
    return;
  }
  tally.right += 1;
  tally.rightOf.set(path, (tally.rightOf.get(path) ?? 0) + 1);
}
