export function resolve(specifier, context, next) {
  const [, name] = /^((?:wasi|dockside):[^@]+)@/.exec(specifier) ?? [];
  if (!name) return next(specifier, context);
  return { url: new URL(`./${name.replace(/[:/]/g, '-')}.js`, import.meta.url).href, shortCircuit: true };
}
