-- How long tasks take, learned from those that finished: a row for each class of them, '' for all of an account's.

create table timings (
    provider   text    not null,
    class      text    not null,                      -- endpoint/model/resolution/count, or the beginning of it
    histogram  blob    not null,                      -- 96 weights over bins of the duration's logarithm, four bytes each
    fresh      blob    not null,                      -- ends that are not in it yet: their first and last bins
    finished   integer not null,
    called     real    not null,                      -- callbacks that told of an end, and questions that found one:
    found      real    not null,                      -- old ones count less
    folded_at  integer not null,
    updated_at integer not null,
    primary key (provider, class),
    check (length(histogram) = 384),
    check (length(fresh) <= 128)
) strict, without rowid;

create index timings_by_age on timings (updated_at);

alter table tasks add column timing_class text;
alter table tasks add column running_at integer;      -- when an answer to our question last said that it runs
