create table customers (id int primary key, name text not null, email text not null, ssn text not null unique, card text, city text not null);
insert into customers values
    (1, 'Ada Young', 'ada@example.com', '078-05-1120', '4111 1111 1111 1111', 'London'),
    (2, 'Ben Okafor', 'ben@example.com', '219-09-9999', '5500 0000 0000 0004', 'Lagos'),
    (3, 'Chloe Martin', 'chloe@example.com', '457-55-5462', '3400 0000 0000 009', 'Paris');
create view customer_contacts as select id, name, email, ssn as number from customers;
create table orders (id int primary key, item text not null, state text not null);
insert into orders select id, 'item ' || id, 'open' from generate_series(1, 200) id;
create table brief (id int primary key);
insert into brief select generate_series(1, 20);
create table never_in_transaction (id int primary key);
create table twice (id int primary key);
insert into twice select generate_series(1, 5);
create table ledger (id int primary key, note text);
create schema s;
create table t (a int, b int);
insert into t select id, id from generate_series(1, 10) id;
create table u (a int, b int);
insert into u values (1, 1);
create table s.t (a int);
insert into s.t values (1);
create schema evil;
create table evil.orders (id int primary key, item text, state text);
insert into evil.orders select id, 'evil', 'open' from generate_series(1, 200) id;
create role other login;
alter schema public owner to shop_app;
alter schema evil owner to shop_app;
alter table customers owner to shop_app;
alter view customer_contacts owner to shop_app;
alter table orders owner to shop_app;
alter table brief owner to shop_app;
alter table never_in_transaction owner to shop_app;
alter table twice owner to shop_app;
alter table ledger owner to shop_app;
alter table t owner to shop_app;
alter table u owner to shop_app;
alter table evil.orders owner to shop_app;
