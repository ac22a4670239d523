/** One character, a set of them, or any run of them. */
type Token = '*' | ((char: string) => boolean);

/**
 * Whether a target path is among those that a delegation's pattern names: `*`, `?`, `[abc]`, `[a-z]`, `[!a]` as in a shell,
 * none of which crosses a slash (TUF 1.0.31 section 4.5, PATHPATTERN). In time bounded by the lengths of both: patterns
 * are written by whoever a role delegates to.
 */
export function matchesPattern(pattern: string, path: string): boolean {
  const [patterns, parts] = [pattern.split('/'), path.split('/')];
  return (
    patterns.length === parts.length && parts.every((part, index) => matchesPart(patterns[index]!, part))
  );
}

function matchesPart(pattern: string, text: string): boolean {
  const tokens = tokensOf(pattern);
  const chars = Array.from(text);
  let [at, token] = [0, 0];
  // Where to go on when it does not fit: after the last star, one character more given to that star.
  let [starred, givenTo] = [-1, 0];
  while (at < chars.length) {
    const wanted = tokens[token];
    if (wanted === '*') {
      [starred, givenTo] = [token, at];
      token += 1;
    } else if (wanted?.(chars[at]!) === true) {
      at += 1;
      token += 1;
    } else if (starred >= 0) {
      givenTo += 1;
      [at, token] = [givenTo, starred + 1];
    } else {
      return false;
    }
  }
  return tokens.slice(token).every(rest => rest === '*');
}

function tokensOf(pattern: string): Token[] {
  const chars = Array.from(pattern);
  const tokens: Token[] = [];
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at]!;
    const end = char === '[' ? chars.indexOf(']', at + (chars[at + 1] === '!' ? 3 : 2)) : -1;
    if (end > 0) {
      tokens.push(oneOf(chars.slice(at + 1, end)));
      at = end;
    } else if (char === '*') tokens.push('*');
    else if (char === '?') tokens.push(() => true);
    else tokens.push(found => found === char);
  }
  return tokens;
}

function oneOf(set: string[]): (char: string) => boolean {
  const negated = set[0] === '!';
  const members = negated ? set.slice(1) : set;
  const has = (char: string): boolean => {
    for (let at = 0; at < members.length; at += 1) {
      const last = members[at + 1] === '-' ? members[at + 2] : undefined;
      if (last === undefined ? char === members[at] : members[at]! <= char && char <= last) return true;
      if (last !== undefined) at += 2;
    }
    return false;
  };
  return char => has(char) !== negated;
}
