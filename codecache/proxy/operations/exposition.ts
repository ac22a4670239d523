/** One metric family of the text format of Prometheus. */
export interface Family {
  name: string;
  help: string;
  type: 'counter' | 'gauge' | 'histogram';
  samples: Sample[];
}

/** A histogram has `le` buckets, sum and count in one sample. */
export type Sample =
  | { labels?: Labels; value: number }
  | { labels?: Labels; bounds: readonly number[]; counts: readonly number[]; sum: number };

export type Labels = Record<string, string>;

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** The text format 0.0.4, from numbers that were counted elsewhere: those of several processes, added up. */
export function exposition(families: readonly Family[]): string {
  return families
    .map(
      ({ name, help, type, samples }) =>
        `# HELP ${name} ${help.replaceAll('\\', String.raw`\\`).replaceAll('\n', String.raw`\n`)}\n` +
        `# TYPE ${name} ${type}\n${samples.map(sample => lines(name, sample)).join('')}`,
    )
    .join('');
}

function lines(name: string, sample: Sample): string {
  const { labels = {} } = sample;
  if ('value' in sample) return line(name, labels, sample.value);
  let count = 0;
  let text = '';
  for (const [index, one] of sample.counts.entries()) {
    count += one;
    text += line(`${name}_bucket`, { ...labels, le: String(sample.bounds[index] ?? '+Inf') }, count);
  }
  return `${text}${line(`${name}_sum`, labels, sample.sum)}${line(`${name}_count`, labels, count)}`;
}

function line(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
  return `${name}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}\n`;
}

const escaped = (text: string): string =>
  text
    .replaceAll('\\', String.raw`\\`)
    .replaceAll('"', String.raw`\"`)
    .replaceAll('\n', String.raw`\n`);
