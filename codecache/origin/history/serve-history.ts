import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Worker } from 'node:worker_threads';
import { LRUCache } from 'lru-cache';
import PQueue from 'p-queue';
import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/log.ts';
import { matchesEtag } from '../../http/byte-range.ts';
import type { PublicFiles, StoreSource } from '../public-files.ts';
import { logTag } from '../send-object.ts';
import type { HistoryQuestion, HistoryReply } from './history-worker.ts';
import { problem } from './problem-page.ts';
import type { HistoryAnswer } from './problem-page.ts';
import { contentSecurityPolicy } from './style.ts';

/** Bounds of what strangers can make the history pages cost. */
const limits = {
  waiting: 16,
  answerSeconds: 30,
  keptBytes: 16 << 20,
  heapMegabytes: 1024,
  /** Log and timestamp are looked at for changes no more often than this. */
  lookMs: 2000,
  target: 1024,
};

export interface HistoryPages {
  answer(request: IncomingMessage, response: ServerResponse): Promise<void>;
  close(): Promise<void>;
}

/**
 * The history pages of a store: made in a thread of their own, one at a time, kept while nothing changes. Who asks for
 * more than that is sent away with 503; who fetches pilots notices nothing.
 */
export function historyPages(options: {
  source: StoreSource;
  files: PublicFiles;
  clock: Clock;
  log: Logger;
}): HistoryPages {
  const { files, clock, log } = options;
  const kept = new LRUCache<string, HistoryAnswer>({
    maxSize: limits.keptBytes,
    sizeCalculation: ({ body }, key) => 2 * (body.length + key.length) + 1,
  });
  const making = new Map<string, Promise<HistoryAnswer>>();
  const queue = new PQueue({ concurrency: 1 });
  let worker: Worker | undefined;
  let last: { atMs: number; tag: Promise<string> } | undefined;

  const currentTag = (): Promise<string> => {
    const nowMs = clock.monotonic();
    if (last === undefined || nowMs - last.atMs >= limits.lookMs) last = { atMs: nowMs, tag: tagOf(files) };
    return last.tag;
  };

  const start = (): Worker => {
    const started = new Worker(new URL('history-worker.ts', import.meta.url), {
      workerData: options.source,
      resourceLimits: { maxOldGenerationSizeMb: limits.heapMegabytes },
    });
    started.on('error', error => log.error({ err: error }, 'the thread of the history pages failed'));
    started.on('exit', () => {
      if (worker === started) worker = undefined;
    });
    started.unref();
    return started;
  };

  const make = async (question: HistoryQuestion): Promise<HistoryAnswer> => {
    const asked = (worker ??= start());
    try {
      const reply = await ask(asked, question, clock);
      if ('answer' in reply) return reply.answer;
      log.error({ target: question.target, failure: reply.failure }, 'a history page could not be made');
      return problem(500, 'This page could not be made; the log of the store says why.');
    } catch (error) {
      log.error({ err: error, target: question.target }, 'the thread of the history pages was ended');
      await asked.terminate();
      return problem(503, 'This page takes too long to make now.');
    }
  };

  const get = async (target: string): Promise<HistoryAnswer> => {
    if (target.length > limits.target) return problem(400, 'This address is longer than any of a page here.');
    const tag = await currentTag();
    const nowMs = clock.now();
    // Pages say how long signatures last; comparisons are the same for ever.
    const minute = target.startsWith('/history/diff') ? '' : String(Math.floor(nowMs / 60_000));
    const key = `${tag} ${minute} ${target}`;
    const known = kept.get(key) ?? making.get(key);
    if (known) return known;
    if (queue.size >= limits.waiting) return problem(503, 'Too many ask for the history now.');
    const made = queue.add(() => make({ target, tag, nowMs }));
    making.set(key, made);
    try {
      const answer = await made;
      if (answer.status === 200) kept.set(key, answer);
      return answer;
    } finally {
      making.delete(key);
    }
  };

  return {
    async answer(request, response) {
      send(request, response, await get(request.url ?? ''));
    },
    async close() {
      queue.clear();
      await worker?.terminate();
    },
  };
}

/** What log and timestamp are now. */
async function tagOf(files: PublicFiles): Promise<string> {
  const hash = createHash('sha256');
  for (const path of ['log.jsonl', 'metadata/timestamp.json']) {
    const file = await files.open(path);
    try {
      hash.update(file === undefined ? 'none' : await logTag(file)).update('\n');
    } finally {
      await file?.close();
    }
  }
  return hash.digest('hex');
}

async function ask(worker: Worker, question: HistoryQuestion, clock: Clock): Promise<HistoryReply> {
  const done = new AbortController();
  try {
    worker.postMessage(question, []);
    const [reply] = (await Promise.race([
      once(worker, 'message', { signal: done.signal }),
      once(worker, 'exit', { signal: done.signal }).then(() => Promise.reject(new Error('it ended'))),
      clock
        .sleep(limits.answerSeconds * 1000, done.signal)
        .then(() => Promise.reject(new Error(`no answer in ${limits.answerSeconds} s`))),
    ])) as [HistoryReply];
    return reply;
  } finally {
    done.abort();
  }
}

function send(request: IncomingMessage, response: ServerResponse, answer: HistoryAnswer): void {
  const body = Buffer.from(answer.body);
  const etag = `"${createHash('sha256').update(body).digest('hex')}"`;
  const { status } = answer;
  response.setHeader(
    'cache-control',
    status === 200 ? 'public, max-age=10' : status === 404 ? 'public, max-age=5' : 'no-store',
  );
  response.setHeader('content-security-policy', contentSecurityPolicy);
  response.setHeader('referrer-policy', 'no-referrer');
  response.setHeader('x-content-type-options', 'nosniff');
  if (status === 503) response.setHeader('retry-after', 5);
  if (status === 200) {
    response.setHeader('etag', etag);
    if (matchesEtag(request.headers['if-none-match'], etag)) {
      response.writeHead(304).end();
      return;
    }
  }
  response.writeHead(status, { 'content-type': answer.type, 'content-length': body.length });
  response.end(request.method === 'HEAD' ? undefined : body);
}
