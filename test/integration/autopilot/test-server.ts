import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { newId } from '../../../lib/ids.ts';

interface Submission {
  id: string;
  factory: string;
  withdrawn: boolean;
}

/**
 * The routes of lib/protocol.ts that an autopilot uses, on a real port. What became of a pilot is read from files that the
 * test's wrappers write: `<pilots>/<submission>.enrolled` (one line for each start) and `.ended`. It does not enforce the
 * cap, so that what holds it is the autopilot; `mostAtOnce` is the most that ever were open or enrolled together.
 */
export class TestServer {
  activated = 0;
  cap = 1000;
  jobsDoneEach = 1;
  /** Answers that are not given: the connection is cut after the request was carried out. */
  readonly loseAnswers = new Map<string, number>();
  down = false;
  /** Whether enrolled pilots are free for jobs. */
  idle = false;
  mostAtOnce = 0;
  /** Submissions to be removed, as demand lists them. */
  remove: { submissionId: string; release: string }[] = [];
  readonly submissions: Submission[] = [];
  readonly calls: string[] = [];
  readonly #answers = new Map<string, unknown>();
  readonly #pilots: string;
  readonly #server = createServer((request, response) => {
    void this.#answer(request).then(
      answer => {
        if (answer === null) return response.destroy();
        response.writeHead(answer.status, { 'content-type': 'application/json' });
        return response.end(JSON.stringify(answer.body));
      },
      (error: unknown) => {
        response.writeHead(500).end(String(error));
      },
    );
  });
  url = '';

  constructor(pilots: string) {
    this.#pilots = pilots;
  }

  async listen(): Promise<this> {
    await new Promise<void>(resolve => {
      this.#server.listen(0, '127.0.0.1', resolve);
    });
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise(resolve => {
      this.#server.close(resolve);
    });
  }

  starts(id: string): number {
    const path = join(this.#pilots, `${id}.enrolled`);
    return existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0;
  }

  stateOf(submission: Submission): 'open' | 'enrolled' | 'ended' | 'withdrawn' {
    if (existsSync(join(this.#pilots, `${submission.id}.ended`))) return 'ended';
    if (this.starts(submission.id) > 0) return 'enrolled';
    return submission.withdrawn ? 'withdrawn' : 'open';
  }

  countIn(...states: string[]): number {
    return this.submissions.filter(submission => states.includes(this.stateOf(submission))).length;
  }

  async #answer(request: IncomingMessage): Promise<{ status: number; body: unknown } | null> {
    const { pathname, searchParams } = new URL(request.url!, 'http://localhost');
    const name = `${request.method} ${pathname.split('/').slice(4).join('/')}`;
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    if (this.down) return { status: 503, body: { code: 'E_NOT_READY', title: 'down', status: 503 } };
    this.calls.push(name);
    const text = Buffer.concat(parts).toString('utf8');
    const key = request.headers['idempotency-key'] as string | undefined;
    const body =
      (key !== undefined && this.#answers.get(key)) ||
      this.#carryOut(name, text === '' ? {} : (JSON.parse(text) as Record<string, unknown>), searchParams);
    if (key !== undefined) this.#answers.set(key, body);
    const lost = this.loseAnswers.get(name) ?? 0;
    if (lost > 0) {
      this.loseAnswers.set(name, lost - 1);
      return null;
    }
    return { status: 200, body: { serverTimeMs: Date.now(), instance: 'test', ...body } };
  }

  #carryOut(name: string, body: Record<string, unknown>, query: URLSearchParams): object {
    if (name === 'GET demand') return this.#demand();
    if (name === 'POST submissions') return this.#create(body as { factory: string; count: number });
    if (name === 'POST submissions/withdraw') return this.#withdraw(body as { submissionIds: string[] });
    if (name === 'GET submissions') return this.#list(query);
    throw new Error(`no such route: ${name}`);
  }

  #demand(): object {
    const enrolled = this.countIn('enrolled');
    return {
      queue: 'test',
      activated: this.activated,
      active: enrolled,
      cap: this.cap,
      submissionsOpen: this.countIn('open'),
      pilotsIdle: this.idle ? enrolled : 0,
      pilotsBusy: this.idle ? 0 : enrolled,
      recent: { windowSeconds: 600, pilotsEnded: 0, pilotsEmpty: 0, pilotsLost: 0, jobsFailedBySite: 0 },
      remove: this.remove,
    };
  }

  #create({ factory, count }: { factory: string; count: number }): object {
    const made = Array.from({ length: count }, () => ({ id: newId(), factory, withdrawn: false }));
    this.submissions.push(...made);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.countIn('open', 'enrolled'));
    return {
      submissions: made.map(({ id }) => ({
        submissionId: id,
        secret: `secret-of-${id}`,
        validSeconds: 86_400,
      })),
      floors: null,
    };
  }

  #withdraw({ submissionIds }: { submissionIds: string[] }): object {
    const open = this.submissions.filter(
      submission => submissionIds.includes(submission.id) && this.stateOf(submission) === 'open',
    );
    for (const submission of open) submission.withdrawn = true;
    return { withdrawn: open.map(({ id }) => id) };
  }

  #list(query: URLSearchParams): object {
    const start = Number(query.get('cursor') ?? 0);
    const all = this.submissions
      .filter(submission => submission.factory === query.get('factory'))
      .toReversed();
    const page = all.slice(start, start + 3);
    return {
      submissions: page.map(submission => {
        const state = this.stateOf(submission);
        return {
          submissionId: submission.id,
          state,
          pilotId: null,
          jobsDone: state === 'ended' ? this.jobsDoneEach : 0,
        };
      }),
      nextCursor: start + 3 < all.length ? String(start + 3) : null,
    };
  }
}
