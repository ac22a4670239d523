import { parentPort, workerData } from 'node:worker_threads';
import { openPublicFiles } from '../public-files.ts';
import type { StoreSource } from '../public-files.ts';
import { answerHistory } from './answer-history.ts';
import type { HistoryAnswer } from './problem-page.ts';
import { readHistory } from './read-history.ts';
import type { StoreHistory } from './read-history.ts';

export interface HistoryQuestion {
  target: string;
  /** Another one means that log or metadata have changed. */
  tag: string;
  nowMs: number;
}

export type HistoryReply = { answer: HistoryAnswer } | { failure: string };

/** A thread for the history pages: whatever they cost, the thread that serves pilots does not wait. One question at a time. */
const files = await openPublicFiles(workerData as StoreSource);
let known: { tag: string; told: StoreHistory } | undefined;

parentPort!.on('message', (question: HistoryQuestion) => {
  void reply(question).then(message => parentPort!.postMessage(message, []));
});

async function reply({ target, tag, nowMs }: HistoryQuestion): Promise<HistoryReply> {
  try {
    if (known?.tag !== tag) known = { tag, told: await readHistory(files, nowMs) };
    return { answer: await answerHistory(target, known.told, { files, nowMs }) };
  } catch (error) {
    return { failure: (error as Error).stack ?? String(error) };
  }
}
