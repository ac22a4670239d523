import type { Clock } from '../../../lib/clock.ts';
import { PilotageError } from '../../../lib/errors.ts';
import type { ObjectName } from '../../http/object-name.ts';
import { dump } from '../upstreams/ask-upstream.ts';
import type { UpstreamAnswer } from '../upstreams/ask-upstream.ts';
import type { Upstream } from '../upstreams/upstream.ts';
import type { Upstreams } from '../upstreams/upstreams.ts';
import { confirms, makeAnswer, readable, sha256Of, validators } from './answer.ts';
import type { Answer } from './answer.ts';
import { misfit } from './check-metadata.ts';
import { NEWS_MS, refreshed } from './freshness.ts';
import type { Received } from './freshness.ts';
import { readSigned } from './read-signed.ts';
import type { SignedPart } from './read-signed.ts';
import { misnamed } from './signed-names.ts';
import type { Named } from './signed-names.ts';
import { nominated, selecting } from './vary.ts';
import type { Wish } from './wish.ts';

/** Of the page that says that something is missing. */
const MAX_MISSING_BYTES = 65_536;
/** For the body of one metadata file, which is short. */
const WHOLE_MS = 60_000;

export interface Question {
  upstreams: Upstreams;
  upstream: Upstream;
  name: ObjectName;
  /** What the metadata above says of the file. */
  named: Named | undefined;
  /** An answer that this upstream gave and may confirm. */
  stored: Answer | undefined;
  wish: Wish;
  /** Fields of the request that the answers for this name are known to vary by. */
  selecting: Record<string, string>;
  /** It is asked once more, with the fields that its answer varied by. */
  again?: true;
  clock: Clock;
  maxBytes: number;
}

/** `nominated`: the request fields by which the answer varies; its key is for the caller to set. */
export interface Reply {
  how: 'miss' | 'revalidated';
  answer: Answer;
  nominated: readonly string[];
}

/**
 * Asks one upstream for one metadata file. What does not fit its name, or what the metadata above it says, is asked for
 * once more past the caches on the way, for it may lie in one of them.
 *
 * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT, E_UPSTREAM_FORGED naming the upstream.
 */
export async function askUpstream(question: Question): Promise<Reply> {
  const { wish } = question;
  try {
    return await askOnce(question);
  } catch (error) {
    if (wish.noCache || !(error instanceof PilotageError) || error.code !== 'E_UPSTREAM_FORGED') throw error;
    return askOnce({ ...question, wish: { ...wish, noCache: true } });
  }
}

async function askOnce(question: Question): Promise<Reply> {
  const { upstreams, upstream, name, stored, wish, clock } = question;
  const conditional = stored !== undefined && !wish.noCache ? validators(stored) : {};
  const requestedMs = clock.now();
  const reply = await upstreams.ask(upstream, name.path, {
    ...question.selecting,
    ...conditional,
    via: wish.via,
    ...(wish.noCache && { 'cache-control': 'no-cache', pragma: 'no-cache' }),
  });
  const received: Received = {
    status: reply.status,
    fields: reply.headers,
    requestedMs,
    receivedMs: clock.now(),
  };
  if (reply.status === 304) return confirmed(question, reply, received, conditional);
  const names = nominated(reply.headers.vary);
  const fields = names === '*' ? {} : selecting(names, wish.fields ?? {});
  if (JSON.stringify(fields) !== JSON.stringify(question.selecting) && Object.keys(fields).length > 0) {
    await dump(reply);
    if (question.again === true) throw upstreams.failed(upstream, name.path, 'another Vary each time');
    return askOnce({ ...question, stored: undefined, selecting: fields, again: true });
  }
  const body = await readBody(question, reply);
  const read = name.kind === 'other' ? undefined : readSigned(body);
  if (reply.status === 200) {
    const found = read === undefined ? undefined : misfit(name, read);
    if (found !== undefined)
      throw upstreams.blame(upstream, name.path, 'signed metadata of this name', found);
    const wrong = misnamed(question.named, { body, sha256: sha256Of(body) });
    if (wrong !== undefined) throw upstreams.misnamed(upstream, name.path, wrong);
  }
  const bounds = reply.status === 200 ? boundsOf(name, read) : { notAfterMs: Infinity };
  const answer = makeAnswer({ key: '', upstream: upstream.url, body, ...bounds }, received);
  return { how: 'miss', answer, nominated: names === '*' ? [] : names };
}

/** What bounds the freshness of a file that is there, beside its header fields; one without a date of expiry has none. */
function boundsOf(
  { kind }: ObjectName,
  read: SignedPart | string | undefined,
): { notAfterMs: number; longestMs?: number } {
  if (kind !== 'timestamp') return { notAfterMs: Infinity };
  const expiresMs = typeof read === 'object' ? read.expiresMs : Number.NaN;
  return { notAfterMs: Number.isNaN(expiresMs) ? 0 : expiresMs, longestMs: NEWS_MS };
}

/** After a 304 (RFC 9111 4.3.4): the stored answer with the fields that came, or asked for again when it was not meant. */
async function confirmed(
  question: Question,
  reply: UpstreamAnswer,
  received: Received,
  conditional: Record<string, string>,
): Promise<Reply> {
  const { upstreams, upstream, name, stored } = question;
  await dump(reply);
  if (stored === undefined || Object.keys(conditional).length === 0)
    throw upstreams.failed(upstream, name.path, 'a 304 that was not asked for');
  const fields = readable(received.fields);
  if (!confirms(fields, stored)) return askOnce({ ...question, stored: undefined });
  const bounds = boundsOf(name, readSigned(stored.body));
  const answer = makeAnswer(
    { key: stored.key, upstream: upstream.url, body: stored.body, ...bounds },
    { ...received, status: stored.status, fields: refreshed(stored.fields, fields) },
  );
  const names = nominated(answer.vary);
  return { how: 'revalidated', answer, nominated: names === '*' ? [] : names };
}

/**
 * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT; E_UPSTREAM_FORGED when there is more of it than such a file may have.
 */
async function readBody(question: Question, reply: UpstreamAnswer): Promise<Buffer> {
  const { upstreams, upstream, name, named } = question;
  const asNamed = reply.status === 200 ? (named?.length ?? Infinity) : MAX_MISSING_BYTES;
  const maxBytes = Math.min(question.maxBytes, asNamed);
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Whoever sends a byte at a time must not keep clients from the next upstream.
  const late = new DOMException('The body was not whole in time.', 'TimeoutError');
  const deadline = setTimeout(() => reply.body.destroy(late), WHOLE_MS);
  try {
    for await (const chunk of reply.body as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > maxBytes) break;
      chunks.push(chunk);
    }
  } catch (error) {
    throw upstreams.failed(upstream, name.path, error);
  } finally {
    clearTimeout(deadline);
  }
  if (bytes <= maxBytes) return Buffer.concat(chunks);
  if (reply.status !== 200 || name.kind === 'other' || (named?.length ?? 0) > maxBytes)
    throw upstreams.failed(upstream, name.path, `more than ${maxBytes} bytes`);
  throw upstreams.misnamed(upstream, name.path, {
    expected: `at most ${maxBytes} bytes`,
    found: 'more',
    by: named?.by ?? upstream.url,
  });
}
