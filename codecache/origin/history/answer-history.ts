import type { PublicFiles } from '../public-files.ts';
import { compareBuilds } from './compare-builds.ts';
import { diffPage } from './diff-page.ts';
import { eventsPage } from './events-page.ts';
import { overviewPage } from './overview-page.ts';
import { problem } from './problem-page.ts';
import type { HistoryAnswer } from './problem-page.ts';
import { releaseOf, type StoreHistory } from './read-history.ts';
import { versionPage } from './version-page.ts';

const MAX_TARGET = 1024;
const PAGE_VERSIONS = 50;
const PAGE_EVENTS = 100;

/**
 * Answers a request for a history page; never throws for what the request says.
 *
 * @param target `/history`, `/history.json` (`?before=VERSION`), `/history/version/V`, `/history/diff?from=V1&to=V2`,
 * `/history/events` (`?before=ENTRY`).
 */
export async function answerHistory(
  target: string,
  told: StoreHistory,
  options: { files: PublicFiles; nowMs: number },
): Promise<HistoryAnswer> {
  const { files, nowMs } = options;
  const asked = parse(target);
  if (asked === undefined) return problem(400, 'This address cannot be read.');
  const { path, query } = asked;
  const { versions } = told.history;
  const find = (version: string) => versions.find(entry => entry.version === version);

  if (path === '/history' || path === '/history.json') {
    const before = query.get('before');
    const start = before === null ? 0 : versions.findIndex(entry => entry.version === before) + 1;
    if (before !== null && start === 0) return unknown(before);
    const shown = versions.slice(start, start + PAGE_VERSIONS);
    const next = start + PAGE_VERSIONS < versions.length ? shown.at(-1)!.version : null;
    return path === '/history'
      ? page(overviewPage(told, { versions: shown, next }, nowMs))
      : json(told, shown, next);
  }
  if (path === '/history/events') {
    const before = query.get('before') ?? String(told.log.entries.length + 1);
    if (!/^[1-9][0-9]{0,9}$/.test(before)) return problem(400, 'before= is the number of an entry.');
    const end = Math.min(Number(before) - 1, told.log.entries.length);
    const start = Math.max(0, end - PAGE_EVENTS);
    const entries = told.log.entries.slice(start, end).reverse();
    return page(eventsPage(told, { entries, next: start > 0 ? start + 1 : null }, nowMs));
  }
  if (path === '/history/diff') {
    const [from, to] = [query.get('from'), query.get('to')];
    if (from === null || to === null)
      return problem(400, 'A comparison is asked for as ?from=VERSION&to=VERSION.');
    const [before, after] = [releaseOf(told, from), releaseOf(told, to)];
    if (before === null || after === null) return unknown(before === null ? from : to);
    return page(diffPage(await compareBuilds(files, told, before, after)));
  }
  const version = /^\/history\/version\/([^/]+)$/.exec(path)?.[1];
  if (version === undefined) return problem(404, 'There is no such page.');
  const entry = find(decode(version) ?? '');
  return entry === undefined ? unknown(decode(version) ?? version) : page(versionPage(told, entry, nowMs));
}

function parse(target: string): { path: string; query: URLSearchParams } | undefined {
  if (target.length > MAX_TARGET || !target.startsWith('/')) return undefined;
  const [path, ...rest] = target.split('?') as [string, ...string[]];
  return { path, query: new URLSearchParams(rest.join('?')) };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

const page = (body: string): HistoryAnswer => ({ status: 200, type: 'text/html; charset=utf-8', body });

const unknown = (version: string): HistoryAnswer =>
  problem(
    404,
    `There is no version "${version.slice(0, 100)}" in this store, or what was signed of it is not kept any more. All versions are on the first page.`,
  );

function json(
  { problems, anchor, log, channels, roles }: StoreHistory,
  versions: StoreHistory['history']['versions'],
  next: string | null,
): HistoryAnswer {
  const shown = {
    verified: problems.length === 0,
    problems,
    log: { entries: log.entries.length, head: log.head, anchor },
    roles: Object.fromEntries(
      Object.entries(roles).map(([role, { version, expiresMs }]) => [
        role,
        { version, expires: new Date(expiresMs).toISOString() },
      ]),
    ),
    channels,
    versions,
    next,
  };
  return { status: 200, type: 'application/json', body: `${JSON.stringify(shown)}\n` };
}
